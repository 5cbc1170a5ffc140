// Apache Flume's channels under the load of the rows mem-flume, file-flume, file-flume-4 and file-flume-1000: so
// many threads put, as many take, transactions of so many events of 512 bytes with two headers.
//
//   java -cp "DIRECTORY OF THE JARS/*" Channels.java memory 1 100
//   java -cp "DIRECTORY OF THE JARS/*" Channels.java file 4 100 DIRECTORY
//
// Prints "ready", then reads lines from standard input, each a time in milliseconds; puts for that
// long, takes all of it, and prints: events, nanoseconds from the first put to the last take, CPU
// nanoseconds of the whole JVM in that time. Ends with its input.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.flume.Channel;
import org.apache.flume.Context;
import org.apache.flume.Transaction;
import org.apache.flume.channel.MemoryChannel;
import org.apache.flume.channel.file.FileChannel;
import org.apache.flume.conf.Configurables;
import org.apache.flume.event.EventBuilder;

public class Channels {
  private static final int BODY = 512;

  private final Channel channel;
  private final int threads;
  private final int batch;
  private final AtomicLong put = new AtomicLong();
  private final AtomicLong taken = new AtomicLong();
  private final AtomicLong end = new AtomicLong();
  private final AtomicInteger atWork;
  private volatile Throwable failure;

  private Channels(Channel channel, int threads, int batch) {
    this.channel = channel;
    this.threads = threads;
    this.batch = batch;
    this.atWork = new AtomicInteger(threads);
  }

  public static void main(String[] args) throws Exception {
    int threads = Integer.parseInt(args[1]);
    int batch = Integer.parseInt(args[2]);
    Context context = new Context();
    context.put("transactionCapacity", Integer.toString(batch));
    Channel channel;
    if (args[0].equals("memory")) {
      channel = new MemoryChannel();
      context.put("capacity", "10000");
      // Only the end of a round waits for it, and that wait is not measured.
      context.put("keep-alive", "1");
    } else {
      channel = new FileChannel();
      Path directory = Path.of(args[3]);
      context.put("checkpointDir", directory.resolve("checkpoint").toString());
      context.put("dataDirs", directory.resolve("data").toString());
      context.put("capacity", "1000000");
    }
    channel.setName("c1");
    Configurables.configure(channel, context);
    channel.start();
    System.out.println("ready");
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      System.out.println(new Channels(channel, threads, batch).round(Long.parseLong(line.trim())));
    }
    channel.stop();
    System.exit(0);
  }

  private String round(long millis) throws Exception {
    var os = (com.sun.management.OperatingSystemMXBean)
        ManagementFactory.getOperatingSystemMXBean();
    long cpu = os.getProcessCpuTime();
    long start = System.nanoTime();
    List<Thread> sources = started(() -> produce(start + millis * 1_000_000), atWork::decrementAndGet);
    List<Thread> sinks = started(this::drain, () -> {});
    for (Thread thread : sources) {
      thread.join();
    }
    for (Thread thread : sinks) {
      thread.join();
    }
    if (failure != null) {
      throw new IllegalStateException("a thread failed", failure);
    }
    return taken.get() + " " + (end.get() - start) + " " + (os.getProcessCpuTime() - cpu);
  }

  private List<Thread> started(Runnable work, Runnable after) {
    List<Thread> all = new ArrayList<>();
    for (int i = 0; i < threads; i++) {
      Thread thread = new Thread(() -> {
        try {
          work.run();
        } catch (Throwable thrown) {
          failure = thrown;
        } finally {
          after.run();
        }
      });
      thread.start();
      all.add(thread);
    }
    return all;
  }

  private void drain() {
    // What is put is counted before its thread leaves: first the end, then the count.
    while (failure == null && !(atWork.get() == 0 && taken.get() >= put.get())) {
      long events = take();
      if (events > 0) {
        taken.addAndGet(events);
        end.accumulateAndGet(System.nanoTime(), Math::max);
      } else {
        LockSupport.parkNanos(50_000);
      }
    }
  }

  private void produce(long deadline) {
    byte[] body = new byte[BODY];
    for (int i = 0; i < BODY; i++) {
      body[i] = (byte) ('a' + i % 26);
    }
    while (System.nanoTime() < deadline) {
      Transaction transaction = channel.getTransaction();
      transaction.begin();
      try {
        for (int i = 0; i < batch; i++) {
          Map<String, String> headers = new HashMap<>(4);
          headers.put("host", "10.20.30.40");
          headers.put("timestamp", "1767225600000");
          channel.put(EventBuilder.withBody(body.clone(), headers));
        }
        transaction.commit();
        put.addAndGet(batch);
      } catch (RuntimeException refused) {
        transaction.rollback();
        throw refused;
      } finally {
        transaction.close();
      }
    }
  }

  private long take() {
    Transaction transaction = channel.getTransaction();
    transaction.begin();
    try {
      long events = 0;
      long bytes = 0;
      for (int i = 0; i < batch; i++) {
        var event = channel.take();
        if (event == null) {
          break;
        }
        events++;
        bytes += event.getBody().length;
      }
      if (bytes != events * BODY) {
        throw new IllegalStateException(events + " events have " + bytes + " bytes");
      }
      transaction.commit();
      return events;
    } catch (RuntimeException failed) {
      transaction.rollback();
      throw failed;
    } finally {
      transaction.close();
    }
  }
}
