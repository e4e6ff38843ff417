#!/bin/sh
# Says in one sentence what this machine lacks and how to get it, before anything is downloaded.
#
# Prints the Python to use on standard output and exits 0, or the sentence on standard error and exits 1.
# With --packages it prints the Debian packages that are missing instead, one line, and exits 0.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) && cd "$root" || exit 1

missing=""  # what is missing, in words
packages="" # what brings it on Debian and Ubuntu
advice=""   # what brings the rest

lacks() { # words, package
    missing="${missing:+$missing, }$1"
    case " $packages " in *" ${2:-none} "*) ;; *) packages="$packages${2:+ $2}" ;; esac
}

system_has_python() { # does the distribution bring 3.12 or newer?
    [ -r /etc/os-release ] || return 1
    id=$(. /etc/os-release && echo "${ID:-}") && release=$(. /etc/os-release && echo "${VERSION_ID:-0}")
    case "$id" in
        debian) [ "${release%%.*}" -ge 13 ] ;;
        ubuntu) [ "${release%%.*}" -ge 24 ] ;;
        *) return 1 ;;
    esac 2>/dev/null
}

pythons() { # every interpreter that might do, the versions we test with first
    for version in 3.12 3.13 3.14; do
        command -v "python$version"
        for found in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python$version \
            "${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/uv/python}/cpython-$version".*/bin/python$version \
            "/usr/local/bin/python$version" "/usr/bin/python$version"; do
            [ -x "$found" ] && echo "$found"
        done
    done
    command -v python3
    command -v python
}

runs() { "$1" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import venv, ensurepip, ctypes, ssl, zlib' >/dev/null 2>&1; }
headers() { "$1" -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null; }

choose_python() { # sets python to the first complete one, else to the first that runs
    python="" candidates=$(pythons 2>/dev/null)
    [ -n "${PYTHON:-}" ] && candidates=$(command -v "$PYTHON")
    for candidate in $candidates; do
        runs "$candidate" || continue
        [ -n "$python" ] || python=$candidate
        if has_venv "$candidate" && [ -r "$(headers "$candidate")/Python.h" ]; then
            python=$candidate
            return
        fi
    done
}

check_python() {
    choose_python
    if [ -z "$python" ]; then
        found=$(python3 --version 2>/dev/null || echo none)
        if system_has_python; then
            lacks "Python 3.12 to 3.14 (found: $found)" "python3"
            packages="$packages python3-venv python3-dev"
        else
            lacks "Python 3.12 to 3.14 (found: $found)"
            advice="Python from 'uv python install 3.12' or 'pyenv install 3.12'"
        fi
        return
    fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    case "$(command -v "$python")" in
        /usr/bin/*) venv="python$version-venv" dev="python$version-dev" ;;
        *) venv="" dev="" ;;
    esac
    if ! has_venv "$python"; then
        lacks "the modules venv, ensurepip, ctypes and ssl of $python" "$venv"
        [ -n "$venv" ] || advice="a complete Python from 'uv python install 3.12'"
    fi
    if [ ! -r "$(headers "$python")/Python.h" ]; then
        lacks "the headers (Python.h) of $python" "$dev"
        [ -n "$dev" ] || advice="a complete Python from 'uv python install 3.12'"
    fi
}

check_compiler() {
    compiler=${CC:-}
    [ -n "$compiler" ] || [ -z "$python" ] || compiler=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')
    compiler=${compiler:-cc}
    if ! command -v "${compiler%% *}" >/dev/null 2>&1; then
        case "$compiler" in
            *clang*) lacks "the C compiler ${compiler%% *} (or CC=gcc in the environment)" clang ;;
            *) lacks "a C compiler (${compiler%% *})" gcc ;;
        esac
        packages="$packages libc6-dev"
    elif ! printf '#include <math.h>\n#include <complex.h>\n' | ${compiler%% *} -E - >/dev/null 2>&1; then
        lacks "the headers of the C library" libc6-dev
    fi
}

has_library() {
    for folder in /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib64 /usr/lib64 /lib /usr/lib /usr/local/lib \
        $(printf %s "${LD_LIBRARY_PATH:-}" | tr ':' ' '); do
        [ -e "$folder/$1" ] && return 0
    done
    PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q "[[:space:]]$1 "
}

check_libraries() { # what gmsh and VTK load from the system
    while read -r library package; do
        has_library "$library" || lacks "$library" "$package"
    done <<LIST
libGL.so.1 libgl1
libGLU.so.1 libglu1-mesa
libEGL.so.1 libegl1
libX11.so.6 libx11-6
libXext.so.6 libxext6
libXfixes.so.3 libxfixes3
libXft.so.2 libxft2
libXcursor.so.1 libxcursor1
libXinerama.so.1 libxinerama1
libXrender.so.1 libxrender1
libfontconfig.so.1 libfontconfig1
libgomp.so.1 libgomp1
libstdc++.so.6 libstdc++6
libz.so.1 zlib1g
LIST
}

refuse() {
    echo "$1" >&2
    exit 1
}

if [ "$(uname -s) $(uname -m)" != "Linux x86_64" ]; then
    refuse "turgor: the packages of DOLFINx are for Linux on x86-64 and this is $(uname -s) on $(uname -m): use WSL2 on Windows, conda (environment.yml) elsewhere, as README.md tells."
fi
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/glibc //')
minor=${glibc#2.}
case "$glibc" in
    2.*) [ "${minor%%.*}" -ge 34 ] || refuse "turgor: the packages of DOLFINx need glibc 2.34 or newer and this system has $glibc: use a newer system (Debian 12, Ubuntu 22.04) or conda (environment.yml)." ;;
    *) refuse "turgor: the packages of DOLFINx need glibc 2.34 or newer and this system has ${glibc:-another C library}: use Debian 12, Ubuntu 22.04 or newer, or conda (environment.yml)." ;;
esac

check_python
check_compiler
check_libraries

packages=${packages# }
if [ "${1:-}" = "--packages" ]; then
    echo "$packages"
    exit 0
fi
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] && sudo="" || sudo="sudo "
    how=${packages:+"${sudo}apt-get install -y $packages"}
    refuse "turgor: this machine lacks $missing; get ${how:+it with: $how}${how:+${advice:+, and }}$advice"
fi
echo "$python"
