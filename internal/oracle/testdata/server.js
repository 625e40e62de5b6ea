require("http").createServer((_, response) => response.end("server\n")).listen(Number(process.argv[2]));
