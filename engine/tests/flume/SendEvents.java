// Sends events with the Java client of Flume's SDK, as its users do: through RpcClientFactory,
// single events and lists, plain or compressed.
//
//   java -cp 'jars/*' SendEvents.java COUNT COMPRESSION PORT [COMPRESSION PORT]...
//
// COMPRESSION is none or deflate. Event n of each port has the body "n " and n * 37 mod 1000 times
// the letter e with an acute accent; the last of every 500 has 100,000 of them. It has n mod 3 headers:
// "n", the number, then "empty" with nothing in it, or one in UTF-8. The test counts on all of this.

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.flume.Event;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.event.EventBuilder;

public class SendEvents {
  public static void main(String[] args) throws Exception {
    int count = Integer.parseInt(args[0]);
    for (int i = 1; i + 1 < args.length; i += 2) {
      send(count, args[i], args[i + 1]);
    }
  }

  private static void send(int count, String compression, String port) throws Exception {
    Properties properties = new Properties();
    properties.setProperty("client.type", "default");
    properties.setProperty("hosts", "h1");
    properties.setProperty("hosts.h1", "127.0.0.1:" + port);
    properties.setProperty("batch-size", "100");
    properties.setProperty("compression-type", compression);
    RpcClient client = RpcClientFactory.getInstance(properties);
    try {
      int n = 0;
      for (; n < count / 10; n++) {
        client.append(event(n));
      }
      List<Event> list = new ArrayList<>();
      // Lists longer than batch-size, which the client cuts, and a short last one.
      for (; n < count; n++) {
        list.add(event(n));
        if (list.size() == 350 || n == count - 1) {
          client.appendBatch(list);
          list.clear();
        }
      }
    } finally {
      client.close();
    }
  }

  private static Event event(int n) {
    Map<String, String> headers = new HashMap<>();
    if (n % 3 >= 1) {
      headers.put("n", Integer.toString(n));
    }
    if (n % 3 == 2) {
      headers.put(n % 2 == 0 ? "empty" : "größe", n % 2 == 0 ? "" : "日本 " + n);
    }
    String body = n + " " + "é".repeat(n % 500 == 499 ? 100_000 : n * 37 % 1000);
    return EventBuilder.withBody(body.getBytes(StandardCharsets.UTF_8), headers);
  }
}
