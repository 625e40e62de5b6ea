echo "the tests use port $WEB_PORT"
