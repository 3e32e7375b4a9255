# Runs under the real systemd; what it prints is what test_systemd.py reads.
show() { echo "$1 $(systemctl show egressd -p "$2" --value)"; }
worker() { grep -B1 -A3 '"role": "worker"' /run/egressd/supervisor.json | grep -m1 '"pid"' | tr -dc 0-9; }
mkdir -p /etc/egressd
systemctl daemon-reload
if ! systemctl start egressd; then
    journalctl --no-pager
    echo finished
    exit
fi
show started ActiveState
show status StatusText
echo "admin $(stat -c '%A %U %G' /run/egressd/admin.sock)"
first=$(systemctl show egressd -p MainPID --value)
echo "answer $(curl -s -o /dev/null -w '%{http_code}' -H 'Host: unknown.example' http://127.0.0.1:15001/)"
echo 'workers: 1' > /etc/egressd/egressd.yaml
systemctl reload egressd
echo "reload ends with $?, generation $(grep -c '"generation": 2' /run/egressd/supervisor.json)"
show reloaded StatusText
kill -9 "$(worker)"
for _ in $(seq 200); do
    grep -q '"workerRestarts": 1' /run/egressd/supervisor.json && break
    sleep 0.05
done
echo "restarted $(grep '"workerRestarts"' /run/egressd/supervisor.json)"
for _ in $(seq 200); do
    systemctl show egressd -p StatusText --value | grep -q "1 of 1 workers serve" && break
    sleep 0.05
done
echo "again $(curl -s -o /dev/null -w '%{http_code}' -H 'Host: unknown.example' http://127.0.0.1:15001/)"
echo "same main process $([ "$first" = "$(systemctl show egressd -p MainPID --value)" ] && echo yes)"
echo 'workers: none' > /etc/egressd/egressd.yaml
systemctl reload egressd 2> /dev/null
echo "reload of a wrong file ends with $?"
show refused StatusText
systemctl stop egressd.socket egressd
show stopped Result
echo "left $(ls /run/egressd 2> /dev/null | wc -l)"
journalctl -u egressd --no-pager
echo finished
