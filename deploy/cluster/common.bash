# What `up` and `down` share: where things are, and which processes are ours.
# Sourced; the working directory is the root of the repository afterwards.

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly RUN=.run/cluster
readonly BIN_DIR=${BIN_DIR:-target/release}

# A pid file has two lines: the pid, and the command line it was started with. A pid
# that has another command line by now belongs to somebody else.
is_ours() { # pid file
    local pid started
    { read -r pid && read -r started; } 2>/dev/null <"$1" || return 1
    [[ $(ps -ww -p "$pid" -o args= 2>/dev/null) == "$started" ]]
}

pid_of() { # pid file
    head -n 1 "$1"
}

# The pid files of processes that run, one a line.
ours() {
    local file
    for file in "$RUN"/*.pid; do
        if is_ours "$file"; then echo "$file"; fi
    done
}
