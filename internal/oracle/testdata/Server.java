import java.net.ServerSocket;
import java.net.Socket;

/** Says who it is to everybody who connects. */
public class Server {
    public static void main(String[] args) throws Exception {
        try (ServerSocket listener = new ServerSocket(Integer.parseInt(args[0]))) {
            while (true) {
                try (Socket client = listener.accept()) {
                    client.getOutputStream().write("server\n".getBytes());
                }
            }
        }
    }
}
