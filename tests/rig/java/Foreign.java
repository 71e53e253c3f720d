import java.io.PrintStream;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's own client, as the end-to-end tests need it beside ours. Run from source:
 * {@code java -cp 'libs/*' Foreign.java consume|odd|transactions SERVERS TOPIC ...}.
 */
public final class Foreign {
    private static final PrintStream OUT = System.out;

    public static void main(String[] words) throws Exception {
        System.setOut(System.err); // what the client logs is not for who reads the records
        Properties client = new Properties();
        client.put("bootstrap.servers", words[1]);
        String topic = words[2];
        switch (words[0]) {
            case "consume" -> consume(client, topic, words[3], Arrays.asList(words).subList(4, words.length));
            case "odd" -> odd(client, topic);
            case "transactions" -> transactions(client, topic);
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    /** Print each record as "partition offset nanoseconds value"; commit after each poll; leave on SIGTERM. */
    private static void consume(Properties client, String topic, String group, List<String> options) throws Exception {
        client.put("group.id", group);
        client.put("enable.auto.commit", "false");
        client.put("auto.offset.reset", "earliest");
        client.put("max.poll.records", "100");
        for (String option : options) {
            String[] pair = option.split("=", 2);
            client.put(pair[0], pair[1]);
        }
        var consumer = new KafkaConsumer<>(client, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        Thread reader = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                reader.join();
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }));
        consumer.subscribe(List.of(topic), new OnItsOwnThread());
        try {
            while (true) {
                var records = consumer.poll(Duration.ofMillis(200));
                var lines = new StringBuilder();
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    lines.append(record.partition()).append(' ').append(record.offset()).append(' ');
                    Instant now = Instant.now();
                    lines.append(now.getEpochSecond() * 1_000_000_000L + now.getNano()).append(' ');
                    lines.append(new String(record.value(), "UTF-8")).append('\n');
                }
                OUT.print(lines);
                OUT.flush();
                commit(consumer);
            }
        } catch (WakeupException stopped) {
            commit(consumer);
        } finally {
            consumer.close();
        }
    }

    /**
     * Lets partitions go only while this thread polls. Without a listener the client of KIP-848 gives them
     * back behind our back, before what a poll has returned is committed.
     */
    private static final class OnItsOwnThread implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {}
    }

    /** Commit; again while a rebalance keeps the broker from taking it. A wake-up ends the program afterwards. */
    private static void commit(KafkaConsumer<byte[], byte[]> consumer) throws Exception {
        WakeupException stopped = null;
        for (int attempt = 0; ; attempt++) {
            try {
                consumer.commitSync();
                break;
            } catch (WakeupException wakeup) {
                stopped = wakeup;
            } catch (CommitFailedException | RebalanceInProgressException failed) {
                if (attempt == 100) {
                    throw failed;
                }
                Thread.sleep(50);
            }
        }
        if (stopped != null) {
            throw stopped;
        }
    }

    private static KafkaProducer<byte[], byte[]> producer(Properties client, String... options) {
        Properties own = new Properties();
        own.putAll(client);
        own.put("max.request.size", "2000000");
        for (int at = 0; at < options.length; at += 2) {
            own.put(options[at], options[at + 1]);
        }
        return new KafkaProducer<>(own, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** With each codec: a batch of unusual records to partition 0. */
    private static void odd(Properties client, String topic) throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            try (var producer = producer(client, "compression.type", codec, "linger.ms", "1000")) {
                var headers = new RecordHeaders();
                headers.add(new RecordHeader("codec", codec.getBytes()));
                headers.add(new RecordHeader("twice", "1".getBytes()));
                headers.add(new RecordHeader("twice", "2".getBytes()));
                headers.add(new RecordHeader("null", (byte[]) null));
                headers.add(new RecordHeader("empty", new byte[0]));
                producer.send(new ProducerRecord<>(topic, 0, null, "key".getBytes(), "value".getBytes(), headers));
                producer.send(new ProducerRecord<>(topic, 0, null, (byte[]) null, "null key".getBytes()));
                producer.send(new ProducerRecord<>(topic, 0, null, new byte[0], "empty key".getBytes()));
                producer.send(new ProducerRecord<>(topic, 0, null, "tombstone".getBytes(), (byte[]) null));
                producer.send(new ProducerRecord<>(topic, 0, null, "empty".getBytes(), new byte[0]));
                producer.flush();
                producer.send(new ProducerRecord<>(topic, 0, null, "large".getBytes(), noise(1_000_000))).get();
            }
        }
    }

    /** Bytes that no codec makes smaller; the tests make the same ones. */
    private static byte[] noise(int length) {
        byte[] bytes = new byte[length];
        int state = 1;
        for (int at = 0; at < length; at++) {
            state = state * 1_103_515_245 + 12_345;
            bytes[at] = (byte) (state >>> 16);
        }
        return bytes;
    }

    /** Transactions over all partitions, each second one aborted, the last of them too. */
    private static void transactions(Properties client, String topic) throws Exception {
        try (var producer = producer(client, "transactional.id", topic)) {
            producer.initTransactions();
            int partitions = producer.partitionsFor(topic).size();
            for (int number = 0; number < 20; number++) {
                boolean commits = number % 2 == 0;
                producer.beginTransaction();
                for (int record = 0; record < 10 * partitions; record++) {
                    String value = (commits ? "kept " : "dropped ") + number + " " + record;
                    producer.send(new ProducerRecord<>(topic, record % partitions, null, null, value.getBytes()));
                }
                producer.flush();
                if (commits) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        }
    }
}
