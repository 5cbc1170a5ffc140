import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.FsShell;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.tools.DebugAdmin;
import org.apache.hadoop.util.ToolRunner;

/**
 * Hadoop's own clients in one JVM, driven through standard input: a test pays for one start.
 *
 * In:  number of words (int), then each as length (int) and bytes.
 * Out: exit code (int), then standard output and standard error, each as length (int) and bytes.
 */
public class Driver {
  private static final Map<String, FSDataOutputStream> OPEN = new HashMap<>();

  public static void main(String[] args) throws Exception {
    DataInputStream in = new DataInputStream(System.in);
    DataOutputStream out = new DataOutputStream(System.out);
    Configuration conf = new Configuration();
    while (true) {
      int count;
      try {
        count = in.readInt();
      } catch (java.io.EOFException end) {
        Runtime.getRuntime().halt(0);
        return;
      }
      String[] words = new String[count];
      for (int i = 0; i < count; i++) {
        byte[] word = new byte[in.readInt()];
        in.readFully(word);
        words[i] = new String(word, "UTF-8");
      }
      ByteArrayOutputStream stdout = new ByteArrayOutputStream();
      ByteArrayOutputStream stderr = new ByteArrayOutputStream();
      System.setOut(new PrintStream(stdout, true));
      System.setErr(new PrintStream(stderr, true));
      int code;
      try {
        code = run(conf, words);
      } catch (Throwable failed) {
        failed.printStackTrace();
        code = 99;
      }
      System.out.flush();
      System.err.flush();
      out.writeInt(code);
      for (ByteArrayOutputStream bytes : new ByteArrayOutputStream[] {stdout, stderr}) {
        out.writeInt(bytes.size());
        bytes.writeTo(out);
      }
      out.flush();
    }
  }

  private static int run(Configuration conf, String[] words) throws Exception {
    String[] rest = Arrays.copyOfRange(words, 1, words.length);
    switch (words[0]) {
      case "fs":
        return ToolRunner.run(new Configuration(conf), new FsShell(), rest);
      case "debug":
        return ToolRunner.run(new DebugAdmin(new Configuration(conf)), rest);
      case "create": {
        // create PATH REPLICATION: with a client of its own, so that its lease is its own.
        FileSystem fs = FileSystem.newInstance(conf);
        OPEN.put(rest[0], fs.create(new Path(rest[0]), false, 4096, Short.parseShort(rest[1]), 1 << 20));
        return 0;
      }
      case "write":
        // write PATH TEXT: and flush it.
        OPEN.get(rest[0]).write(rest[1].getBytes("UTF-8"));
        OPEN.get(rest[0]).hflush();
        return 0;
      case "sync":
        OPEN.get(rest[0]).write(rest[1].getBytes("UTF-8"));
        OPEN.get(rest[0]).hsync();
        return 0;
      case "close":
        OPEN.remove(rest[0]).close();
        return 0;
      case "read": {
        // read PATH: whatever is there, be the file open or closed.
        try (FileSystem fs = FileSystem.newInstance(conf);
            InputStream in = fs.open(new Path(rest[0]))) {
          in.transferTo(System.out);
        }
        return 0;
      }
      default:
        throw new IllegalArgumentException(words[0]);
    }
  }
}
