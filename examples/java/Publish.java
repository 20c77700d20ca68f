import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.rabbitmq.client.*;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.spec.*;
import java.util.*;
import java.util.concurrent.*;
import javax.net.ssl.*;
import org.apache.avro.*;
import org.apache.avro.generic.*;
import org.apache.avro.io.*;

/**
 * Publishes the records of a JSON Lines file as events, as WIRE.md says.
 *
 * <pre>java -cp classes:CLASSPATH Publish RECORDS.jsonl</pre>
 *
 * with the settings and the CLASSPATH of examples/README.md. It may be stopped
 * anyhow and run again: a record keeps its id, and the hub drops what it has.
 * Exit status 1: a record can't be encoded, or an event isn't taken.
 */
class Publish {
    static final int WINDOW = 500; // so many events are on their way at once
    static final ObjectMapper JSON = new ObjectMapper();
    static final Base64.Encoder BASE64URL = Base64.getUrlEncoder().withoutPadding();
    static final String BROKER = setting("BROKER"), MEMBER = setting("MEMBER"), HUB = setting("HUB");
    static final String SYSTEM = setting("SYSTEM");
    static PrivateKey key;
    static String kid;
    static volatile String returned; // the id of an event that the broker had no queue for
    static final Map<String, Known> SCHEMAS = new HashMap<>();

    /** A schema, the prefix of single-object encoding, and what writes with it. */
    record Known(Schema schema, byte[] prefix, GenericDatumWriter<Object> writer) {}

    record Event(String routingKey, AMQP.BasicProperties properties, byte[] body) {}

    static String setting(String name) {
        String value = System.getenv(name);
        return value != null && !value.isEmpty() ? value : fail("set " + name + ": see examples/README.md");
    }

    static String fail(String sentence) {
        System.err.println(sentence);
        System.exit(1);
        return null;
    }

    /** Section 4: the key; its id is that of the public one, in the member's JWKS, that belongs to it. */
    static void readKey() throws Exception {
        String pem = Files.readString(Path.of(setting("KEY"))).replaceAll("-----[A-Z ]+-----|\\s", "");
        KeyFactory factory = KeyFactory.getInstance("Ed25519");
        key = factory.generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
        byte[] trial = sign("trial".getBytes());
        Path jwks = Path.of(setting("MEMBER_KEYS"), MEMBER + ".jwks.json");
        byte[] x509 = HexFormat.of().parseHex("302a300506032b6570032100");
        for (JsonNode candidate : JSON.readTree(jwks.toFile()).get("keys")) {
            byte[] x = Base64.getUrlDecoder().decode(candidate.get("x").asText());
            Signature signature = Signature.getInstance("Ed25519");
            signature.initVerify(factory.generatePublic(new X509EncodedKeySpec(concat(x509, x))));
            signature.update("trial".getBytes());
            if (signature.verify(trial)) kid = candidate.get("kid").asText();
        }
        if (kid == null) fail("the public key of KEY isn't in " + jwks);
    }

    static byte[] sign(byte[] input) throws GeneralSecurityException {
        Signature signature = Signature.getInstance("Ed25519");
        signature.initSign(key);
        signature.update(input);
        return signature.sign();
    }

    static byte[] concat(byte[]... parts) {
        var all = new ByteArrayOutputStream();
        for (byte[] part : parts) all.writeBytes(part);
        return all.toByteArray();
    }

    /** A value as Avro wants it. What is wrong is named by its path: its value may be a citizen's. */
    static Object datum(Schema schema, JsonNode json, String path) {
        var wrong = new IllegalArgumentException("the field " + path + " isn't as its schema says");
        switch (schema.getType()) {
            case UNION: {
                var notNull = schema.getTypes().stream().filter(t -> t.getType() != Schema.Type.NULL).findFirst();
                return json.isNull() ? null : datum(notNull.get(), json, path);
            }
            case RECORD: {
                if (!json.isObject()) throw wrong;
                json.fieldNames().forEachRemaining(name -> {
                    if (schema.getField(name) == null) throw new IllegalArgumentException("no field " + path + "." + name);
                });
                var record = new GenericData.Record(schema);
                for (Schema.Field field : schema.getFields()) {
                    String at = path + "." + field.name();
                    if (json.has(field.name())) record.put(field.pos(), datum(field.schema(), json.get(field.name()), at));
                    else if (field.defaultVal() == null) throw new IllegalArgumentException("the field " + at + " is missing");
                    else record.put(field.pos(), GenericData.get().getDefaultValue(field));
                }
                return record;
            }
            case ARRAY: {
                if (!json.isArray()) throw wrong;
                var list = new ArrayList<Object>();
                for (JsonNode item : json) list.add(datum(schema.getElementType(), item, path));
                return list;
            }
            case ENUM: {
                if (!schema.hasEnumSymbol(json.asText())) throw wrong;
                return new GenericData.EnumSymbol(schema, json.asText());
            }
            case STRING: if (json.isTextual()) return json.asText(); break;
            case BOOLEAN: if (json.isBoolean()) return json.asBoolean(); break;
            case INT: if (json.canConvertToInt() && json.isIntegralNumber()) return json.asInt(); break;
            case LONG: if (json.canConvertToLong() && json.isIntegralNumber()) return json.asLong(); break;
            case DOUBLE: if (json.isNumber()) return json.asDouble(); break;
            default:
        }
        throw wrong;
    }

    /** Section 1: an event's routing key, properties and body. */
    static Event event(JsonNode record) throws Exception {
        for (String name : List.of("id", "type", "subject", "time", "data"))
            if (!record.has(name)) throw new IllegalArgumentException("no " + name);
        String id = record.get("id").asText(), type = record.get("type").asText();
        Known known = SCHEMAS.get(type);
        if (known == null) {
            Schema schema = new Schema.Parser().parse(Path.of(setting("SCHEMAS"), type, "1.json").toFile());
            byte[] crc = SchemaNormalization.parsingFingerprint("CRC-64-AVRO", schema); // little-endian
            known = new Known(schema, concat(new byte[] {(byte) 0xC3, 0x01}, crc), new GenericDatumWriter<>(schema));
            SCHEMAS.put(type, known);
        }
        var avro = new ByteArrayOutputStream();
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(avro, null);
        known.writer().write(datum(known.schema(), record.get("data"), "data"), encoder);
        encoder.flush();
        byte[] body = concat(known.prefix(), avro.toByteArray());

        var attributes = new LinkedHashMap<String, String>();
        attributes.put("specversion", "1.0");
        attributes.put("id", id);
        attributes.put("source", "/" + MEMBER + "/" + SYSTEM);
        attributes.put("type", type);
        attributes.put("subject", record.get("subject").asText());
        attributes.put("time", record.get("time").asText());
        attributes.put("dataschema", "urn:pirogue:schema:" + type + ":1");
        var ce = new LinkedHashMap<>(attributes);
        ce.put("datacontenttype", "application/avro");
        var header = new LinkedHashMap<String, Object>();
        header.put("alg", "EdDSA");
        header.put("b64", false);
        header.put("crit", List.of("b64"));
        header.put("kid", kid);
        header.put("aud", HUB);
        header.put("ce", ce);
        String encoded = BASE64URL.encodeToString(JSON.writeValueAsBytes(header));
        byte[] signature = sign(concat((encoded + ".").getBytes(StandardCharsets.US_ASCII), body));

        var headers = new HashMap<String, Object>();
        attributes.forEach((name, value) -> headers.put("cloudEvents_" + name, value));
        headers.put("cloudEvents_signature", encoded + ".." + BASE64URL.encodeToString(signature));
        var properties = new AMQP.BasicProperties.Builder().contentType("application/avro").deliveryMode(2)
            .messageId(id).type(type).appId(MEMBER).userId(MEMBER).headers(headers).build();
        return new Event(MEMBER + "." + type, properties, body);
    }

    /** A factory of connections to BROKER. With amqps: the authorities in CA_FILE, or the system's. */
    static ConnectionFactory factory() throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(BROKER);
        factory.setAutomaticRecoveryEnabled(false); // we know what isn't confirmed, the library doesn't
        if (!BROKER.startsWith("amqps:")) return factory;
        KeyStore store = null;
        if (System.getenv("CA_FILE") != null) {
            store = KeyStore.getInstance(KeyStore.getDefaultType());
            store.load(null, null);
            try (InputStream file = new FileInputStream(System.getenv("CA_FILE"))) {
                for (var ca : CertificateFactory.getInstance("X.509").generateCertificates(file))
                    store.setCertificateEntry("ca" + store.size(), ca);
            }
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        factory.useSslProtocol(context);
        factory.setSocketConfigurator(socket -> { // the certificate has to be the host's
            SSLParameters parameters = ((SSLSocket) socket).getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            ((SSLSocket) socket).setSSLParameters(parameters);
        });
        return factory;
    }

    static Channel open() throws Exception {
        Channel channel = factory().newConnection().createChannel();
        channel.confirmSelect();
        channel.addReturnListener((code, text, exchange, key, properties, body) -> returned = properties.getMessageId());
        return channel;
    }

    /** Publishes in order. Returns what isn't taken: from the first nack on. */
    static List<Event> send(Channel channel, List<Event> window) throws Exception {
        var open = new ConcurrentSkipListSet<Long>();
        var refused = new ConcurrentSkipListSet<Long>();
        var ended = new CompletableFuture<Void>();
        long first = channel.getNextPublishSeqNo();
        for (long tag = first; tag < first + window.size(); tag++) open.add(tag);
        ConfirmListener listener = new ConfirmListener() {
            public void handleAck(long tag, boolean multiple) { confirmed(tag, multiple, false); }
            public void handleNack(long tag, boolean multiple) { confirmed(tag, multiple, true); }
            void confirmed(long tag, boolean multiple, boolean isNack) {
                var tags = multiple ? open.headSet(tag, true) : Set.of(tag);
                if (isNack) refused.addAll(tags);
                open.removeAll(List.copyOf(tags));
                if (open.isEmpty()) ended.complete(null);
            }
        };
        ShutdownListener lost = ended::completeExceptionally;
        channel.addConfirmListener(listener);
        channel.addShutdownListener(lost);
        try {
            for (Event event : window)
                channel.basicPublish("pirogue.events", event.routingKey(), true, event.properties(), event.body());
            ended.get();
            if (returned != null) // it came before its confirmation, on the same thread
                fail("the broker has no queue for " + returned + ": tell the hub's operator, then run this again");
        } finally {
            channel.removeConfirmListener(listener);
            channel.removeShutdownListener(lost);
        }
        return refused.isEmpty() ? List.of() : window.subList((int) (refused.first() - first), window.size());
    }

    static Channel link;

    static void sendAll(List<Event> window) throws Exception {
        for (long pause = 200; !window.isEmpty(); ) {
            int before = window.size();
            String why = "the hub's inbox takes no more now";
            try {
                if (link == null) link = open();
                window = send(link, window);
            } catch (AuthenticationFailureException fault) {
                fail("the broker refuses " + MEMBER + ": " + fault.getMessage() + "; check BROKER");
            } catch (IOException | ShutdownSignalException | ExecutionException | TimeoutException fault) {
                for (Throwable cause = fault; cause != null; cause = cause.getCause())
                    if (String.valueOf(cause.getMessage()).matches("(?s).*reply-code=40[34].*"))
                        fail("the broker refuses: " + cause.getMessage());
                if (link != null) link.getConnection().abort();
                link = null;
                why = "no connection (" + fault.getMessage() + ")";
            }
            if (window.isEmpty()) return;
            pause = window.size() < before ? 200 : Math.min(pause * 2, 10_000);
            System.err.println(why + ": " + window.size() + " events wait"); // section 1: a nack means try again later
            Thread.sleep(pause);
        }
    }

    public static void main(String[] arguments) throws Exception {
        readKey();
        int taken = 0, leftOut = 0, number = 0;
        var window = new ArrayList<Event>();
        try (BufferedReader lines = Files.newBufferedReader(Path.of(arguments[0]))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                number++;
                try {
                    window.add(event(JSON.readTree(line)));
                } catch (IllegalArgumentException | IOException fault) {
                    String why = fault instanceof IllegalArgumentException ? fault.getMessage() : "no JSON, or no schema";
                    System.err.println("line " + number + " is left out: " + why);
                    leftOut++;
                }
                if (window.size() < WINDOW) continue;
                sendAll(window);
                taken += window.size();
                window.clear();
            }
        }
        sendAll(window);
        System.out.println(taken + window.size() + " events are taken, " + leftOut + " records left out");
        System.exit(leftOut > 0 ? 1 : 0);
    }
}
