# Runs under the real systemd, on a machine without egressd; what it prints is what test_install.py reads.
# readme.sh is README's block, checkout/ the files of the repository.
say() { echo "$1: $2"; }
show() { say "$1" "$(systemctl show "${3:-egressd}" -p "$2" --value)"; }
answer() { say "$1" "$(curl -s -m 20 -o /dev/null -w '%{http_code}' -H 'Host: unknown.example' http://127.0.0.1:15001/)"; }
as_ann() { runuser -u ann -- "$@" 2>&1; }
cd /opt/test/checkout || exit
cp systemd/egressd.service /etc/systemd/system/ # as README said once
say "readme ends with" "$(bash -e /opt/test/readme.sh > /opt/test/readme.log 2>&1; echo $?)"
cat /opt/test/readme.log
show "service" ActiveState
show "socket" ActiveState egressd.socket
say "enabled" "$(systemctl is-enabled egressd.socket egressd | tr '\n' ' ')"
answer "answer"
say "again" "$(egressd install | head -1)"
say "version" "$(egressd --version)"
say "first line" "$(journalctl -u egressd -o cat --no-pager | grep -m1 configuration)"
say "completes" "$(bash -c '. /usr/share/bash-completion/completions/egressd; COMP_WORDS=(egressd sta) COMP_CWORD=1; _egressd_completion egressd; echo "${COMPREPLY[@]}"')"

cp examples/canary.yaml /etc/egressd/resources/
useradd --create-home --groups egressd ann
for _ in $(seq 200); do egressd registry list | grep -q reviews && break; sleep 0.05; done
for words in status "routes reviews.example.com" "explain GET http://reviews.example.com/" "registry list" \
    "registry get reviews.example.com" "registry history" "analyze --fail-on never" \
    "validate --bootstrap /etc/egressd/egressd.yaml"; do
    said=$(as_ann egressd $words)
    say "ann may $words" "$?"
    [ "${said/denied/}" = "$said" ] || echo "$said"
done
as_ann timeout 60 egressd registry watch --once > /opt/test/watched &
for round in $(seq 100); do # until the watch has begun and sees one of these
    sed "s/reviews/ratings-$round/g" examples/canary.yaml > /etc/egressd/resources/.new
    mv /etc/egressd/resources/.new /etc/egressd/resources/other.yaml
    sleep 0.6
    kill -0 $! 2> /dev/null || break
done
wait $!
say "ann watched" "$(grep -c ratings /opt/test/watched)"
say "ann reloads" "$(as_ann egressd reload)"
say "ann confirms" "$(as_ann egressd registry confirm files)"
say "ann installs" "$(as_ann egressd install)"
useradd bob
say "bob looks" "$(runuser -u bob -- egressd registry list 2>&1)"

systemctl stop egressd.socket egressd
userdel egressd 2> /dev/null || userdel --force egressd
systemctl start egressd
say "started without its user" "$?"
show "status then" ExecMainStatus
answer "answer then"

echo 'wrokers: 1' >> /etc/egressd/egressd.yaml
say "wrong reload" "$(systemctl reload egressd 2> /dev/null; echo $?)"
systemctl restart egressd 2> /dev/null
say "wrong restart" "$?"
show "restarts" NRestarts
sed -i '/wrokers/d' /etc/egressd/egressd.yaml
systemctl reset-failed egressd egressd.socket
say "mended" "$(systemctl start egressd; echo $?)"
answer "answer mended"

systemctl stop egressd.socket egressd
say "masked" "$(systemctl mask egressd.socket 2> /dev/null; systemctl start egressd; echo $?)"
answer "answer masked"
systemctl unmask egressd.socket 2> /dev/null

kill -9 "$(systemctl show egressd -p MainPID --value)" # workers that serve on are ended, too
egressd uninstall
say "left" "$(find /usr/local/lib/systemd /etc/systemd/system /usr/bin -name 'egressd*' | tr '\n' ' ')"
say "configuration left" "$(ls /etc/egressd)"
egressd=/opt/egressd/bin/egressd
$egressd uninstall --purge
say "purged" "$(ls -d /etc/egressd /var/lib/egressd 2> /dev/null | wc -l) $(getent passwd egressd)"
journalctl -u egressd --no-pager | tail -60
echo finished
