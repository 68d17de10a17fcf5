#!/bin/bash
# boot.sh FOLDER COMMAND...: boots this machine's own Debian a second time, in namespaces, with systemd as process 1, and runs
# COMMAND there as a service; what it prints goes to FOLDER/out, and its exit status is ours. What is written there is written
# to memory and gone afterwards, except what is written to FOLDER. There is no network but a loopback interface of its own.
# To be run as root.
set -euo pipefail

if [ "${1:-}" != inside ]; then
  # systemd needs a control group of its own.
  root=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/self/mounts)
  group=$root$(sed -n 's/^0:://p' /proc/self/cgroup)/nightjar-test-$$
  mkdir "$group"
  trap 'find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true' EXIT
  status=0
  (
    echo "$BASHPID" >"$group/cgroup.procs"
    exec unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child "$0" inside "$@"
  ) || status=$?
  # The groups are free once the kernel has put the last process away.
  for _ in $(seq 50); do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
  done
  exit $status
fi

shift
folder=$1
shift
mount --make-rprivate /
new=$folder/root
mkdir -p "$new"
mount -t tmpfs tmpfs "$new"
mkdir "$new/upper" "$new/work" "$new/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$new/upper,workdir=$new/work" "$new/root"
new=$new/root
mount -t proc proc "$new/proc"
mount -t sysfs -o ro sysfs "$new/sys"
mountpoint -q "$new/sys/fs/cgroup" || mount -t tmpfs tmpfs "$new/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$new/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$new/dev"
for device in null zero full random urandom tty; do
  : >"$new/dev/$device"
  mount --bind "/dev/$device" "$new/dev/$device"
done
ln -s /proc/self/fd "$new/dev/fd"
mkdir "$new/dev/shm" "$new/dev/pts"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$new/dev/pts"
ln -s pts/ptmx "$new/dev/ptmx"
mount -t tmpfs tmpfs "$new/run"
mount -t tmpfs tmpfs "$new/tmp"
mkdir -p "$new/test"
mount --bind "$folder" "$new/test"

rm -f "$new/usr/sbin/policy-rc.d" # it is there while test/install.sh runs
cat >"$new/etc/systemd/system/check.target" <<X
[Unit]
Wants=check.service systemd-journald.service
X
cat >"$new/etc/systemd/system/check.service" <<X
[Unit]
DefaultDependencies=no
After=systemd-journald.service
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
Environment=HOME=/root LC_ALL=C.UTF-8
WorkingDirectory=/test
ExecStart=$*
StandardOutput=file:/test/out
StandardError=inherit
X
cd "$new"
mkdir -p .old
pivot_root . .old
umount -l /.old
exec env -i container=nightjar-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set -sys_module,-sys_time,-sys_rawio,-mknod \
  /lib/systemd/systemd --unit=check.target --show-status=no --log-target=journal
