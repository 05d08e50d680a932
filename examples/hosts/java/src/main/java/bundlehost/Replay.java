package bundlehost;

import ai.onnxruntime.OrtException;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Replays golden.json: this host's token ids and outputs beside the reference's. */
final class Replay {
    private final Bundle bundle;
    private final double maxAbs;
    private final double minCosine;
    final List<String> failures = new ArrayList<>();
    int cases;
    double gap;
    double cosine = 1;

    Replay(Bundle bundle, JsonNode golden) throws OrtException {
        if (golden.path("format").asInt() != 1 || golden.path("cases").isEmpty()) {
            throw new IllegalArgumentException("golden.json is not of format 1, or has no case");
        }
        this.bundle = bundle;
        JsonNode tolerance = golden.path("tolerance");
        maxAbs = tolerance.path("max_abs").isNull() ? Double.POSITIVE_INFINITY : tolerance.path("max_abs").asDouble();
        minCosine = tolerance.path("min_cosine").asDouble(2); // a file without one fails
        for (JsonNode stated : golden.path("cases")) {
            replay("case " + cases++, stated);
        }
    }

    private void replay(String shown, JsonNode stated) throws OrtException {
        String pair = stated.path("pair").isTextual() ? stated.path("pair").asText() : null;
        Bundle.Encoded found = bundle.encode(stated.path("text").asText(), pair, stated.path("truncated").asBoolean());
        long[] ids = longs(stated.path("input_ids"));
        long[] types = longs(stated.path("token_type_ids"));
        if (!Arrays.equals(found.ids(), ids)) {
            failures.add(shown + ": token ids differ: " + Arrays.toString(found.ids()));
        }
        // Segment ids count only where the graph reads them.
        if (bundle.hasInput("token_type_ids") && !Arrays.equals(found.types(), types)) {
            failures.add(shown + ": segment ids differ: " + Arrays.toString(found.types()));
        }
        Set<String> names = new HashSet<>();
        stated.path("outputs").fieldNames().forEachRemaining(names::add);
        int unpooled = (int) Arrays.stream(longs(stated.path("pooling_mask"))).filter(value -> value == 0).count();
        Map<String, float[]> outputs = bundle.run(List.of(new Bundle.Encoded(ids, types, unpooled)), names).get(0);
        names.forEach(name -> judge(shown + ": " + name, dense(stated.path("outputs").path(name)), outputs.get(name)));
    }

    /** Difference (relative above magnitude 1) and cosine; one number has no direction. */
    private void judge(String shown, double[] want, float[] got) {
        double largest = want.length == got.length ? 0 : Double.POSITIVE_INFINITY;
        double dot = 0;
        double left = 0;
        double right = 0;
        for (int i = 0; i < want.length && i < got.length; i++) {
            double difference = Math.abs(want[i] - got[i]) / Math.max(1, Math.abs(want[i]));
            largest = Double.isNaN(difference) ? Double.POSITIVE_INFINITY : Math.max(largest, difference);
            dot += want[i] * got[i];
            left += want[i] * want[i];
            right += (double) got[i] * got[i];
        }
        double likeness = want.length == 1 || left * right == 0 ? 1 : dot / Math.sqrt(left * right);
        gap = Math.max(gap, largest);
        cosine = Math.min(cosine, likeness);
        if (!(largest <= maxAbs) || !(likeness >= minCosine)) {
            failures.add(String.format("%s differs by %.2e (cosine %.6f)", shown, largest, likeness));
        }
    }

    private static long[] longs(JsonNode list) {
        long[] values = new long[list.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = list.get(i).asLong();
        }
        return values;
    }

    /** An output as the file states it: nested lists, or the non-zero entries of a long vector. */
    private static double[] dense(JsonNode stated) {
        if (stated.isObject()) {
            double[] vector = new double[stated.path("size").asInt()];
            for (int i = 0; i < stated.path("indices").size(); i++) {
                vector[stated.path("indices").get(i).asInt()] = stated.path("values").get(i).asDouble();
            }
            return vector;
        }
        List<Double> values = new ArrayList<>();
        flatten(stated, values);
        return values.stream().mapToDouble(Double::doubleValue).toArray();
    }

    private static void flatten(JsonNode list, List<Double> values) {
        for (JsonNode item : list) {
            if (item.isArray()) {
                flatten(item, values);
            } else {
                values.add(item.asDouble());
            }
        }
    }
}
