# Watches port 8080 while a program takes it and gives it back.
log=$(mktemp)
trap 'kill $server $watch 2>/dev/null; rm -f "$log"' EXIT
echo "+ portcheck watch --target local -p 8080 --interval 100ms"
portcheck watch --target local -p 8080 --interval 100ms >"$log" 2>&1 &
watch=$!
until grep -q ' met ' "$log"; do sleep 0.02; done
python3 -c 'import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen()
time.sleep(60)' &
server=$!
until grep -q ' unmet ' "$log"; do sleep 0.02; done
kill "$server"
until [ "$(grep -c ' met ' "$log")" = 2 ]; do sleep 0.02; done
kill "$watch"
wait "$watch"
cat "$log"
