using System.Globalization;
using System.Text.Json;
using BundleHost;

const string Usage = """
    BundleHost embed    BUNDLE DIMENSIONS TEXT...   (DIMENSIONS 0: all)
    BundleHost classify BUNDLE TEXT...
    BundleHost score    BUNDLE QUERY DOCUMENT...
    BundleHost replay   BUNDLE
    """;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
if (args.Length < 2 || (args.Length < 3 && args[0] != "replay"))
{
    Console.Error.WriteLine(Usage);
    return 2;
}
try
{
    string[] texts = args[2..];
    switch (args[0])
    {
        case "embed":
            int size = int.Parse(texts[0], CultureInfo.InvariantCulture);
            return Show(args[1], "sentence_embedding", texts.Skip(1).Select(text => (text, (string?)null)), size);
        case "classify":
            return Show(args[1], "probs", texts.Select(text => (text, (string?)null)), 0);
        case "score":
            return Show(args[1], "probs", texts.Skip(1).Select(text => (texts[0], (string?)text)), 0);
        case "replay":
            return Verdict(args[1]);
        default:
            Console.Error.WriteLine(Usage);
            return 2;
    }
}
catch (Exception error)
{
    Console.Error.WriteLine($"error: {error.Message}");
    return 1;
}

// Print one output of every text or pair.
static int Show(string folder, string output, IEnumerable<(string Text, string? Pair)> texts, int dimensions)
{
    using var bundle = new Bundle(folder);
    List<Encoded> encoded = texts.Select(item => bundle.Encode(item.Text, item.Pair)).ToList();
    foreach (Dictionary<string, float[]> row in bundle.Run(encoded, [output]))
    {
        float[] values = row[output];
        Console.WriteLine(JsonSerializer.Serialize(dimensions > 0 ? Bundle.Shorten(values, dimensions) : values));
    }
    return 0;
}

static int Verdict(string folder)
{
    using var bundle = new Bundle(folder);
    using JsonDocument golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden.json")));
    var replay = new Replay(bundle, golden.RootElement);
    replay.Failures.ForEach(Console.Error.WriteLine);
    string word = replay.Failures.Count == 0 ? "passed" : "FAILED";
    Console.WriteLine($"{word}: {replay.Cases} cases, max-abs {replay.Gap:e2}, min cosine {replay.Cosine:f7}");
    return replay.Failures.Count == 0 ? 0 : 1;
}
