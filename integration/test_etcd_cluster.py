"""The etcd test cluster itself: what the tests of the adapter rely on."""

from __future__ import annotations

from pathlib import Path

from integration.node import eventually
from integration.servers.etcd import EtcdCluster


def test_three_members_survive_the_leader_and_a_change_of_leader(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, size=3) as etcd:
        etcd.put("/a/x", "1")
        old = etcd.leader()
        new = etcd.move_leader()
        assert eventually(lambda: etcd.leader() == new)
        assert old != new
        etcd.kill(new)
        assert eventually(lambda: etcd.leader() != new, 30)
        etcd.put("/a/y", "2")
        etcd.start(new)
        assert etcd.keys("/a/") == ["/a/x", "/a/y"]


def test_lost_state_and_lost_permission(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd:
        etcd.put_all({f"/a/{number}": "1" for number in range(150)})
        etcd.restart()
        assert len(etcd.keys("/a/")) == 150
        etcd.stop()
        etcd.lose_state()
        etcd.start()
        assert etcd.keys("/a/") == []
        etcd.add_user("reader", "secret", ["/a/"])
        etcd.enable_auth("rooted")
        etcd.forbid("reader", "/a/")
        assert etcd.put("/a/x", "1") > 1
        assert etcd.get("/a/x") == "1"
