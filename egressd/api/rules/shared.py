"""Rules of messages and values that several kinds carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from egressd.api.authorization_policy import PolicySelector
from egressd.api.decode import join
from egressd.api.message import Percent, WorkloadSelector
from egressd.api.names import (
    A_PORT,
    A_WILDCARD_HOST,
    is_fqdn,
    is_host,
    is_label,
    is_port,
    label_fault,
)
from egressd.api.report import Report, quoted


def check_port(number: int, path: str, report: Report) -> None:
    """Istio `ValidatePort`."""
    if not is_port(number):
        report.error(path, str(number), A_PORT)


def check_duration(
    seconds: float | None, path: str, report: Report, *, zero_allowed: bool = False
) -> None:
    """Istio `ValidateDuration`: at least 1 ms, in whole milliseconds."""
    if seconds is None or (zero_allowed and seconds == 0):
        return
    milliseconds = seconds * 1000
    if milliseconds < 1:
        report.error(path, f"{seconds:g}s", "at least 1ms")
    elif abs(milliseconds - round(milliseconds)) > max(5e-7, milliseconds * 1e-15):
        report.error(path, f"{seconds!r}s", "a whole number of milliseconds")


def check_wide_host(host: str, path: str, report: Report, more: str = "") -> None:
    """Istio `ValidateWildcardDomain`: `*foo.com` passes there, and matches no name here."""
    if is_host(host):
        return
    if host.startswith("*") and is_fqdn(host[1:].lstrip("-")):
        expected = (
            "a wildcard as a whole label (*.example.com); names are not matched by their ends"
        )
        report.warn(path, f"{quoted(host)}, valid but not yet acted on", expected)
    else:
        report.error(path, quoted(host), f"{A_WILDCARD_HOST}{more}")


def check_percent(value: int, path: str, report: Report) -> None:
    """Istio `ValidatePercent`."""
    if not 0 <= value <= 100:
        report.error(path, str(value), "a percentage from 0 to 100")


def check_percentage(percent: Percent | None, path: str, report: Report) -> None:
    """Istio `validatePercentage`: the finest share Envoy knows is one in a million."""
    if percent is None:
        return
    if not 0 <= percent.value <= 100 or 0 < percent.value < 0.0001:
        expected = "a percentage: 0, or from 0.0001 to 100"
        report.error(f"{path}.value", f"{percent.value:g}", expected)


def check_labels(labels: Mapping[str, str], path: str, report: Report) -> None:
    """Istio `labels.Instance.Validate`."""
    for key, value in labels.items():
        if fault := label_fault(key, value):
            report.error(join(path, key), f"{quoted(key)}: {quoted(value)}", fault)


def check_selector(
    selector: WorkloadSelector | PolicySelector | None, path: str, report: Report
) -> None:
    """Istio `ValidateAlphaWorkloadSelector` (`labels`), `validateWorkloadSelector` (`matchLabels`)."""
    if selector is None:
        return
    is_alpha = isinstance(selector, WorkloadSelector)
    labels = selector.labels if isinstance(selector, WorkloadSelector) else selector.match_labels
    if not labels:
        report.warn(path, "no labels", "labels; without any, every workload is selected")
    for key, value in labels.items():
        where = join(f"{path}.{'labels' if is_alpha else 'matchLabels'}", key)
        if not key:
            report.error(where, "an empty key", "a label key")
        if "*" in key or "*" in value:
            report.error(where, f"{key}: {value}", "a label without wildcard")


def check_export_to(
    export_to: tuple[str, ...],
    namespace: str,
    report: Report,
    *,
    nobody_allowed: bool = False,
    only_own: bool = False,
) -> None:
    """Istio `validateExportTo`. `~` (nobody) is for services, `only_own` for a selector."""
    path = "spec.exportTo"
    seen: set[str] = set()
    for index, value in enumerate(export_to):
        where = f"{path}[{index}]"
        key = namespace if value == "." else value
        if key in seen:
            report.error(where, f"{quoted(value)} a second time", "each namespace once")
        elif not (key == "*" or is_label(key) or (key == "~" and nobody_allowed)):
            expected = '".", "*"' + (', "~"' if nobody_allowed else "") + " or a namespace"
            report.error(where, quoted(value), expected)
        seen.add(key)
    if len(export_to) > 1 and "*" in seen:
        report.error(path, '"*" with other namespaces', '"*" alone')
    if len(export_to) > 1 and "~" in seen and nobody_allowed:
        report.error(path, '"~" with other namespaces', '"~" alone')
    if only_own and seen and seen != {namespace}:
        expected = 'only "." where workloadSelector is set'
        report.error(path, quoted(", ".join(export_to)), expected)


def check_gateway_names(names: Iterable[str], path: str, report: Report) -> None:
    """Istio `validateGatewayNames`: `mesh`, a name, `namespace/name`, `name.namespace`."""
    for index, name in enumerate(names):
        where = f"{path}[{index}]"
        namespace, slash, rest = name.partition("/")
        if slash:
            if not (is_label(namespace) and is_label(rest)):
                report.error(where, quoted(name), "namespace/name, both DNS-1123 labels")
        elif not is_fqdn(name):
            report.error(where, quoted(name), 'a gateway name, namespace/name or "mesh"')
        elif "." in name.rstrip("."):
            short, space = name.split(".")[:2]
            report.warn(where, quoted(name), f"{quoted(f'{space}/{short}')}, the current form")
