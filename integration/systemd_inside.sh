#!/bin/bash
# PID 1 of new mount, pid, cgroup, ipc and uts namespaces: makes an overlay of the machine's root and
# becomes systemd in it. Nothing outside is written. Exit 77: not possible on this machine.
# Arguments: repository, Python prefix, site-packages, a directory of the test (log and check script); "bare"
# as a fifth: lay no units, for a test of what lays them.
set -e
repository=$1 python=$2 packages=$3 test=$4 bare=${5:-}
trap 'exit 77' ERR
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$test/root"
cd "$test/root"
mkdir upper work all
mount -t overlay overlay -o "lowerdir=/,upperdir=$test/root/upper,workdir=$test/root/work" all
mkdir -p all/opt/{python,packages,test}
if [ -z "$bare" ]; then
    mkdir all/opt/egressd
    mount --bind "$repository" all/opt/egressd
fi
mount --bind "$python" all/opt/python
mount --bind "$packages" all/opt/packages
mount --bind "$test" all/opt/test
cd all
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount --rbind /dev dev
for console in console ttyS0 tty0; do # the machine's own console is not this systemd's
    [ ! -e "dev/$console" ] || mount --bind /dev/null "dev/$console"
done
mount -t tmpfs tmpfs dev/shm
mkdir -p sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
if [ -z "$bare" ]; then
    cp opt/egressd/systemd/egressd{,-setup}.service opt/egressd/systemd/egressd.socket etc/systemd/system/
    mkdir -p etc/systemd/system/egressd.service.d
    # Only where the code lies differs from an installed node.
    cat > etc/systemd/system/egressd.service.d/test.conf <<UNIT
[Service]
ExecStart=
ExecStart=/opt/python/bin/python3 -m egressd.cli.main run
ExecReload=
ExecReload=/opt/python/bin/python3 -m egressd.cli.main reload
WorkingDirectory=/opt/egressd
Environment=PYTHONPATH=/opt/packages LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1
UNIT
fi
cat > etc/systemd/system/check.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=file:/opt/test/log
StandardError=inherit
Environment=$(env | grep '^PIP_' | tr '\n' ' ')
ExecStart=/bin/bash /opt/test/check.sh
UNIT
exec env container=egressd-test chroot . /lib/systemd/systemd --system --unit=check.service
