#!/usr/bin/env bash
# Manages the Docker Engine that the end-to-end tests and the demo use.
#
#   tests/engine.sh start   provide a running engine with Compose, Buildx and the base images
#   tests/engine.sh stop    stop the engine, if this script has started it
#   tests/engine.sh restart restart the engine, if this script has started it; in CI, restart any
#
# If an engine answers already, the script uses it unchanged. If not, the script installs an engine
# from Debian's packages, as root on Debian. Anywhere else, it says what is missing and exits with 1.
# The whole set-up takes about a minute.
set -euo pipefail

# The base images of the tests, each with a Debian suite. If no image registry can be reached, the
# script makes a stand-in from a package of that suite.
BASE_IMAGES=(
  python:3.13-slim=trixie
  python:3.11-slim=bookworm
  python:3.9-slim=bullseye
  python:3.14-slim=sid
  python:3.15-slim=sid
  redis:8-alpine=bookworm
)

STATE=/var/lib/remora-engine # the pid and the log of dockerd, if this script has started it

say() { printf 'engine.sh: %s\n' "$*" >&2; }

die() {
  say "$@"
  exit 1
}

answers() { docker info >/dev/null 2>&1; }

# The machine's own Debian mirror, for another suite, so that a local mirror is used.
sources_for() {
  local machine=/etc/apt/sources.list.d/debian.sources
  [[ -f $machine ]] || die "cannot tell this machine's Debian mirror: $machine is missing"
  # Use the first paragraph, which is the archive; security updates have another layout.
  awk -v suite="$1" '/^$/ {exit} /^#/ {next} /^Suites:/ {$0 = "Suites: " suite} {print}' "$machine"
}

# docker.io needs newer versions of Buildx and Compose than Debian 12 has. Newer suites have a low
# priority, so that nothing else is upgraded. apt's own settings stay.
install_engine() {
  [[ -f /etc/debian_version && $EUID == 0 ]] ||
    die "no Docker Engine answers. Install and start one (it is installed here only on Debian, as root)."
  say "installing a Docker Engine from Debian's packages"
  local apt suite
  apt=$(mktemp -d)
  chmod 755 "$apt" # apt reads these files as another user
  mkdir "$apt"/{sources,preferences,lists}
  cp /etc/apt/sources.list.d/debian.sources "$apt/sources/"
  for suite in trixie sid; do sources_for $suite >"$apt/sources/$suite.sources"; done
  printf 'Package: *\nPin: release n=%s\nPin-Priority: %s\n\n' trixie 100 sid 50 >"$apt/preferences/engine"
  cat >"$apt/apt.conf" <<CONF
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$apt/sources";
Dir::Etc::PreferencesParts "$apt/preferences";
Dir::State::Lists "$apt/lists";
CONF
  # Debian's packages would start the service, which fails without an init system.
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    # shellcheck disable=SC2064 # expand the path now
    trap "rm -f $policy" EXIT
  fi
  export APT_CONFIG=$apt/apt.conf DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq install --yes --no-install-recommends \
    docker.io/trixie docker-cli/trixie docker-compose/sid docker-buildx/sid iptables mmdebstrap >/dev/null
  unset APT_CONFIG
  rm -rf "$apt"
}

start_engine() {
  command -v dockerd >/dev/null || install_engine
  [[ $EUID == 0 ]] || die "no Docker Engine answers: start it, or let this user reach it"
  say "starting dockerd; its log is $STATE/dockerd.log"
  mkdir -p "$STATE"
  setsid dockerd >"$STATE/dockerd.log" 2>&1 </dev/null &
  local pid=$!
  echo $pid >"$STATE/dockerd.pid"
  for _ in {1..120}; do
    answers && return
    kill -0 $pid 2>/dev/null || break
    sleep 0.5
  done
  tail -n 20 "$STATE/dockerd.log" >&2
  die "dockerd does not answer"
}

# Make a stand-in for an official image: Debian's own Python or Redis, with the names of the official
# image. It contains the machine's certificates, for networks whose proxy has its own.
stand_in() {
  say "$1 cannot be pulled: making a stand-in (docker image rm $1 removes it)"
  local image=$1 suite=$2 packages customize command
  command -v mmdebstrap >/dev/null || die "$image can be neither pulled nor made: mmdebstrap is missing"
  # shellcheck disable=SC2016 # mmdebstrap runs these, with the image's root as $1
  case $image in
    python:*)
      local version=${image#python:}
      version=${version%-slim}
      packages=ca-certificates,python$version,python$version-venv,python3-pip
      command='["python3"]'
      customize='
        cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"
        rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED
        # The official image has only pip. pip cannot upgrade packages that Debian has installed.
        rm -rf "$1"/usr/lib/python3/dist-packages/packaging* "$1"/usr/lib/python3/dist-packages/wheel*
        ln -s /usr/bin/python'$version' "$1/usr/local/bin/python"
        ln -s /usr/bin/python'$version' "$1/usr/local/bin/python3"
        # The default Python of the suite, and its pip, may have another version. And a virtual
        # environment, whose Python may have no pip, may come first in PATH.
        printf "#!/bin/sh\nexec /usr/local/bin/python3 -m pip \"\$@\"\n" >"$1/usr/local/bin/pip"
        chmod 755 "$1/usr/local/bin/pip"'
      ;;
    redis:*)
      packages=redis-server
      command='["redis-server", "--protected-mode", "no"]'
      customize=true
      ;;
  esac
  local work
  work=$(mktemp -d)
  # The release file of a mirror may have expired: the machine's apt decides whether that matters.
  local dates
  dates=$(apt-config dump Acquire::Check-Valid-Until)
  sources_for "$suite" | mmdebstrap --quiet --variant=minbase ${dates:+"--aptopt=$dates"} \
    --include="$packages" --customize-hook="$customize" "$suite" "$work/root.tar" -
  docker import \
    --change 'ENV LANG=C.UTF-8' \
    --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
    --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
    --change "CMD $command" \
    --change 'LABEL description="stand-in made by tests/engine.sh of Remora"' \
    "$work/root.tar" "$image" >/dev/null
  rm -r "$work"
}

start() {
  answers || start_engine
  docker compose version >/dev/null || die "Docker has no Compose plugin"
  local entry image
  for entry in "${BASE_IMAGES[@]}"; do
    image=${entry%%=*}
    docker image inspect "$image" >/dev/null 2>&1 ||
      timeout 300 docker pull --quiet "$image" ||
      stand_in "$image" "${entry#*=}"
  done
}

stop() {
  [[ -f $STATE/dockerd.pid ]] || return 0
  local pid
  pid=$(<"$STATE/dockerd.pid")
  # After a reboot, another process may have that pid.
  if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]]; then
    kill "$pid"
    timeout 60 tail --pid="$pid" --follow /dev/null || die "dockerd ($pid) does not stop"
  fi
  rm "$STATE/dockerd.pid"
}

restart() {
  if [[ -f $STATE/dockerd.pid ]]; then
    stop
    start_engine
  elif [[ ${CI-} ]]; then
    sudo systemctl restart docker # this machine exists only for this run
  else
    die "the engine was not started here, so it is not restarted"
  fi
}

case ${1-} in
  start | stop | restart) "$1" ;;
  *) die "usage: tests/engine.sh start|stop|restart" ;;
esac
