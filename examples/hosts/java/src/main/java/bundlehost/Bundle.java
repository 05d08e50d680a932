package bundlehost;

import ai.djl.huggingface.tokenizers.Encoding;
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

/** A bundle of pool-export: token ids in, the graph's named outputs out, and what the host has left to do. */
public final class Bundle implements AutoCloseable {
    /** Token ids and segment ids; {@code unpooled} leading tokens stay out of pooling. */
    public record Encoded(long[] ids, long[] types, int unpooled) {}

    private static final int BATCH = 16;

    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    private final HuggingFaceTokenizer tokenizer;
    private final HuggingFaceTokenizer cutting;
    private final JsonNode manifest;

    public Bundle(Path folder) throws IOException, OrtException {
        environment.setTelemetry(false);
        manifest = new ObjectMapper().readTree(folder.resolve("pool_export.json").toFile());
        if (manifest.path("format").asInt() != 1) {
            throw new IOException("bundle format " + manifest.path("format") + "; this program reads 1");
        }
        // By its path, so that onnxruntime finds external data (model.onnx_data) beside it.
        Path graph = folder.resolve(manifest.path("graphs").path("fp32").path("files").path(0).path("path").asText());
        session = environment.createSession(graph.toString(), new OrtSession.SessionOptions());
        tokenizer = tokenizer(folder, false);
        cutting = tokenizer(folder, true);
    }

    private HuggingFaceTokenizer tokenizer(Path folder, boolean truncates) throws IOException {
        return HuggingFaceTokenizer.builder()
                .optTokenizerPath(folder.resolve("tokenizer.json"))
                .optAddSpecialTokens(true)
                .optPadding(false)
                .optTruncation(truncates)
                .optMaxLength(maxLength())
                .build();
    }

    /** The longest input in tokens, special tokens included. */
    public int maxLength() {
        return manifest.path("tokenizer").path("max_length").asInt();
    }

    public boolean hasInput(String name) {
        return session.getInputNames().contains(name);
    }

    /** Token ids of a text, or of a pair; over-long input is an error unless it may be cut. */
    public Encoded encode(String text, String pair, boolean truncate) {
        HuggingFaceTokenizer chosen = truncate ? cutting : tokenizer;
        Encoding found = pair == null ? chosen.encode(text) : chosen.encode(text, pair);
        if (found.getIds().length > maxLength()) {
            throw new IllegalArgumentException(
                    found.getIds().length + " tokens; the model takes " + maxLength());
        }
        return new Encoded(found.getIds(), found.getTypeIds(), 0);
    }

    /** Run texts in batches; the asked-for outputs of each, flat, without padding. */
    public List<Map<String, float[]>> run(List<Encoded> texts, Set<String> names) throws OrtException {
        List<Map<String, float[]>> rows = new ArrayList<>();
        for (int start = 0; start < texts.size(); start += BATCH) {
            rows.addAll(runBatch(texts.subList(start, Math.min(texts.size(), start + BATCH)), names));
        }
        return rows;
    }

    private List<Map<String, float[]>> runBatch(List<Encoded> batch, Set<String> names) throws OrtException {
        int width = batch.stream().mapToInt(text -> text.ids().length).max().orElse(1);
        Map<String, OnnxTensor> inputs = new HashMap<>();
        try {
            for (String name : session.getInputNames()) {
                long[] values = new long[batch.size() * width];
                for (int row = 0; row < batch.size(); row++) {
                    Encoded text = batch.get(row);
                    for (int at = 0; at < text.ids().length; at++) {
                        values[row * width + at] = value(name, text, at);
                    }
                }
                long[] shape = {batch.size(), width};
                inputs.put(name, OnnxTensor.createTensor(environment, LongBuffer.wrap(values), shape));
            }
            try (OrtSession.Result result = session.run(inputs, names)) {
                return split(result, batch, width, names);
            }
        } finally {
            inputs.values().forEach(OnnxTensor::close);
        }
    }

    /** What an input says of one token; what lies behind a text stays 0, which the mask hides. */
    private static long value(String input, Encoded text, int at) {
        return switch (input) {
            case "input_ids" -> text.ids()[at];
            case "attention_mask" -> 1;
            case "token_type_ids" -> text.types()[at];
            case "pooling_mask" -> at < text.unpooled() ? 0 : 1;
            default -> throw new IllegalStateException("the graph has an unknown input " + input);
        };
    }

    private List<Map<String, float[]>> split(
            OrtSession.Result result, List<Encoded> batch, int width, Set<String> names) throws OrtException {
        List<Map<String, float[]>> rows = new ArrayList<>();
        batch.forEach(text -> rows.add(new HashMap<>()));
        for (String name : names) {
            OnnxTensor tensor = (OnnxTensor) result.get(name).orElseThrow();
            FloatBuffer data = tensor.getFloatBuffer();
            int size = data.capacity() / batch.size();
            for (int row = 0; row < batch.size(); row++) {
                // Outputs with a row a token have the axis sequence_length second; those rows end with the text.
                int length = perToken(name) ? size / width * batch.get(row).ids().length : size;
                float[] values = new float[length];
                data.position(row * size);
                data.get(values);
                rows.get(row).put(name, values);
            }
        }
        return rows;
    }

    private boolean perToken(String name) {
        for (JsonNode output : manifest.path("graphs").path("fp32").path("outputs")) {
            if (output.path("name").asText().equals(name)) {
                return output.path("shape").path(1).asText().equals("sequence_length");
            }
        }
        throw new IllegalArgumentException("the graph has no output " + name);
    }

    /** Vectors of texts; fewer dimensions than the model has are a cut, and length 1 again. */
    public List<float[]> embed(List<String> texts, int dimensions) throws OrtException {
        List<Encoded> encoded = texts.stream().map(text -> encode(text, null, false)).toList();
        List<float[]> vectors = new ArrayList<>();
        for (Map<String, float[]> row : run(encoded, Set.of("sentence_embedding"))) {
            float[] vector = row.get("sentence_embedding");
            vectors.add(dimensions > 0 && dimensions < vector.length ? shorten(vector, dimensions) : vector);
        }
        return vectors;
    }

    /** Probabilities of texts. */
    public List<float[]> classify(List<String> texts) throws OrtException {
        List<Encoded> encoded = texts.stream().map(text -> encode(text, null, false)).toList();
        return run(encoded, Set.of("probs")).stream().map(row -> row.get("probs")).toList();
    }

    /** Scores of a cross-encoder, which reads query and document together. */
    public List<Float> score(String query, List<String> documents) throws OrtException {
        List<Encoded> pairs = documents.stream().map(text -> encode(query, text, false)).toList();
        return run(pairs, Set.of("probs")).stream().map(row -> row.get("probs")[0]).toList();
    }

    /** The first numbers of a Matryoshka vector, scaled to length 1 again. */
    public static float[] shorten(float[] vector, int dimensions) {
        double sum = 0;
        for (int i = 0; i < dimensions; i++) {
            sum += (double) vector[i] * vector[i];
        }
        float[] cut = new float[dimensions];
        for (int i = 0; i < dimensions; i++) {
            cut[i] = (float) (vector[i] / Math.max(Math.sqrt(sum), 1e-12));
        }
        return cut;
    }

    @Override
    public void close() throws OrtException {
        session.close();
        Stream.of(tokenizer, cutting).forEach(HuggingFaceTokenizer::close);
    }
}
