# What the scripts of vm.rs begin with. The output of a command that fails is shown, and ends the script.
quietly() {
    "$@" > /tmp/log 2>&1 || {
        code=$?
        echo "failed ($code): $*"
        cat /tmp/log
        exit 1
    }
}
lines() { wc -l | tr -d ' '; }
