package bundlehost;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** The command line: embed, classify, score, replay. */
public final class Main {
    private static final String USAGE = """
            embed    BUNDLE DIMENSIONS TEXT...   (DIMENSIONS 0: all)
            classify BUNDLE TEXT...
            score    BUNDLE QUERY DOCUMENT...
            replay   BUNDLE""";

    private Main() {}

    public static void main(String[] arguments) {
        Locale.setDefault(Locale.ROOT);
        System.exit(run(arguments));
    }

    private static int run(String[] arguments) {
        if (arguments.length < 2 || (arguments.length < 3 && !arguments[0].equals("replay"))) {
            System.err.println(USAGE);
            return 2;
        }
        Path folder = Path.of(arguments[1]);
        List<String> texts = Arrays.asList(arguments).subList(2, arguments.length);
        try (Bundle bundle = new Bundle(folder)) {
            switch (arguments[0]) {
                case "embed" -> bundle.embed(texts.subList(1, texts.size()), Integer.parseInt(texts.get(0)))
                        .forEach(vector -> System.out.println(Arrays.toString(vector)));
                case "classify" -> bundle.classify(texts).forEach(row -> System.out.println(Arrays.toString(row)));
                case "score" -> bundle.score(texts.get(0), texts.subList(1, texts.size())).forEach(System.out::println);
                case "replay" -> {
                    return replay(bundle, new ObjectMapper().readTree(folder.resolve("golden.json").toFile()));
                }
                default -> {
                    System.err.println(USAGE);
                    return 2;
                }
            }
            return 0;
        } catch (Exception error) {
            System.err.println("error: " + error.getMessage());
            return 1;
        }
    }

    private static int replay(Bundle bundle, JsonNode golden) throws Exception {
        Replay replay = new Replay(bundle, golden);
        replay.failures.forEach(System.err::println);
        if (!golden.path("images").isEmpty()) {
            System.err.println(golden.path("images").size() + " images not replayed: this program reads texts");
        }
        System.out.printf("%s: %d cases, max-abs %.2e, min cosine %.7f%n",
                replay.failures.isEmpty() ? "passed" : "FAILED", replay.cases, replay.gap, replay.cosine);
        return replay.failures.isEmpty() ? 0 : 1;
    }
}
