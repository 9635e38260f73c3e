import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.bedrockruntime.BedrockRuntimeAsyncClient;
import software.amazon.awssdk.services.bedrockruntime.BedrockRuntimeClient;
import software.amazon.awssdk.services.bedrockruntime.model.*;

/**
 * The AWS SDK for Java v2 as it comes: clients made with nothing but the environment. "ok" or "bad", a tab, the check, a tab
 * and what came. The async client, the only one that streams, asks for HTTP/2; java.net.http offers an upgrade to it.
 */
public class Checks {
    static final String MODEL = "tenet.assistant-v1:0";
    static BedrockRuntimeClient SYNC;
    static BedrockRuntimeAsyncClient ASYNC;

    static Message user(String text) {
        return Message.builder().role(ConversationRole.USER).content(ContentBlock.fromText(text)).build();
    }

    static String same(Object came, Object wanted) {
        return wanted.equals(came) ? "" : came + " instead of " + wanted;
    }

    static CompletableFuture<String> streamed(String text) {
        StringBuilder said = new StringBuilder();
        var visitor = ConverseStreamResponseHandler.Visitor.builder().onContentBlockDelta(e -> said.append(e.delta().text())).build();
        return ASYNC.converseStream(r -> r.modelId(MODEL).messages(user(text)), ConverseStreamResponseHandler.builder().subscriber(visitor).build())
            .thenApply(nothing -> said.toString());
    }

    static String named(Class<?> wanted, Callable<?> work) {
        try {
            work.call();
        } catch (Throwable error) {
            Throwable cause = error instanceof CompletionException ? error.getCause() : error;
            return wanted.isInstance(cause) ? "" : cause.toString();
        }
        return "no " + wanted.getSimpleName();
    }

    static String plain(String endpoint, String key) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++) {
            var body = HttpRequest.BodyPublishers.ofString("{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hello\"}]}]}");
            var ask = HttpRequest.newBuilder(URI.create(endpoint + "/model/" + MODEL + "/converse")).header("Authorization", "Bearer " + key).POST(body);
            HttpResponse<String> answer = client.send(ask.build(), HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) return answer.statusCode() + " " + answer.body();
        }
        return "";
    }

    static Map<String, Callable<String>> checks() {
        Map<String, Callable<String>> all = new LinkedHashMap<>();
        all.put("whole answer", () -> same(SYNC.converse(r -> r.modelId(MODEL).messages(user("good morning"))).output().message().content().get(0).text(), "good morning"));
        all.put("whole answer, async", () -> same(ASYNC.converse(r -> r.modelId(MODEL).messages(user("hello"))).join().output().message().content().get(0).text(), "hello"));
        all.put("stream", () -> same(streamed("one two three").join(), "one two three"));
        all.put("InvokeModel stream", () -> {
            StringBuilder chunks = new StringBuilder();
            var visitor = InvokeModelWithResponseStreamResponseHandler.Visitor.builder().onChunk(c -> chunks.append(c.bytes().asUtf8String())).build();
            String body = "{\"anthropic_version\":\"any\",\"max_tokens\":50,\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}";
            ASYNC.invokeModelWithResponseStream(r -> r.modelId(MODEL).body(SdkBytes.fromUtf8String(body)), InvokeModelWithResponseStreamResponseHandler.builder().subscriber(visitor).build()).join();
            return chunks.indexOf("message_stop") > 0 ? "" : chunks.toString();
        });
        all.put("16 streams at once", () -> {
            List<CompletableFuture<String>> answers = new ArrayList<>();
            for (int i = 0; i < 16; i++) answers.add(streamed("question " + i + " of sixteen"));
            for (int i = 0; i < 16; i++) if (!answers.get(i).join().equals("question " + i + " of sixteen")) return answers.get(i).join();
            return "";
        });
        all.put("ValidationException", () -> named(ValidationException.class, () -> SYNC.converse(r -> r.modelId(MODEL).messages(user("x")).inferenceConfig(c -> c.temperature(7f)))));
        all.put("ResourceNotFoundException", () -> named(ResourceNotFoundException.class, () -> ASYNC.converse(r -> r.modelId("nobody.nothing-v1:0").messages(user("x"))).join()));
        all.put("26 MB", () -> named(ValidationException.class, () -> SYNC.converse(r -> r.modelId(MODEL).messages(user("x".repeat(26_000_000))))));
        all.put("26 MB, async", () -> named(ValidationException.class, () -> ASYNC.converse(r -> r.modelId(MODEL).messages(user("x".repeat(26_000_000)))).join()));
        all.put("java.net.http", () -> plain(System.getenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"), System.getenv("API_KEY")));
        return all;
    }

    /** Java reads neither of the variables for an authority: its own property names a key store. */
    static void trust(String authority) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        try (InputStream file = Files.newInputStream(Path.of(authority))) {
            store.setCertificateEntry("tenet", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        Path path = Files.createTempFile("trust", ".p12");
        try (var out = Files.newOutputStream(path)) { store.store(out, "changeit".toCharArray()); }
        path.toFile().deleteOnExit();
        System.setProperty("javax.net.ssl.trustStore", path.toString());
        System.setProperty("javax.net.ssl.trustStorePassword", "changeit");
    }

    public static void main(String[] arguments) throws Exception {
        if (System.getenv("AWS_CA_BUNDLE") != null) trust(System.getenv("AWS_CA_BUNDLE"));
        SYNC = BedrockRuntimeClient.create();
        ASYNC = BedrockRuntimeAsyncClient.create();
        for (var check : checks().entrySet()) {
            String came;
            try { came = check.getValue().call(); } catch (Throwable error) { came = error.toString(); }
            System.out.println((came.isEmpty() ? "ok" : "bad") + "\t" + check.getKey() + "\t" + came.replaceAll("\\s+", " "));
        }
        System.exit(0);
    }
}
