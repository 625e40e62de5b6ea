# Watches port 3000 while a program takes it and gives it back.
log=$(mktemp)
trap 'kill $server $watch 2>/dev/null; rm -f "$log"' EXIT

# shown COUNT WORD waits until the log has so many lines with a word.
shown() {
	for _ in $(seq 1000); do
		[ "$(grep -c " $2 " "$log")" -ge "$1" ] && return
		sleep 0.02
	done
	cat "$log"
	exit 1
}

echo "+ portcheck watch --target local -p 3000 --interval 100ms"
portcheck watch --target local -p 3000 --interval 100ms >"$log" 2>&1 &
watch=$!
shown 1 met
python3 -c 'import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 3000))
s.listen()
time.sleep(60)' &
server=$!
shown 1 unmet
kill "$server"
shown 2 met
kill "$watch"
wait "$watch"
cat "$log"
