using System.Text.Json;
using Microsoft.ML.OnnxRuntime;

namespace BundleHost;

/// <summary>A bundle of pool-export: token ids in, the graph's named outputs out.</summary>
public sealed class Bundle : IDisposable
{
    private const int BatchSize = 16;

    private readonly InferenceSession _session;
    private readonly Encoder _encoder;
    private readonly HashSet<string> _perToken = [];

    public Bundle(string folder)
    {
        OrtEnv.Instance().DisableTelemetryEvents();
        using JsonDocument manifest = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "pool_export.json")));
        JsonElement root = manifest.RootElement;
        if (root.GetProperty("format").GetInt32() != 1
            || !root.GetProperty("graphs").TryGetProperty("fp32", out JsonElement graph))
        {
            throw new NotSupportedException("this program reads bundles of format 1, and their fp32 graph");
        }
        foreach (JsonElement output in graph.GetProperty("outputs").EnumerateArray())
        {
            JsonElement shape = output.GetProperty("shape");
            if (shape.GetArrayLength() > 1 && shape[1].ValueKind == JsonValueKind.String
                && shape[1].GetString() == "sequence_length")
            {
                _perToken.Add(output.GetProperty("name").GetString()!);
            }
        }
        // By its path, so that onnxruntime finds external data (model.onnx_data) beside it.
        string file = graph.GetProperty("files")[0].GetProperty("path").GetString()!;
        _session = new InferenceSession(Path.Combine(folder, file));
        int maxLength = root.GetProperty("tokenizer").GetProperty("max_length").GetInt32();
        _encoder = new Encoder(Path.Combine(folder, "tokenizer.json"), maxLength);
    }

    public bool HasInput(string name) => _session.InputNames.Contains(name);

    public Encoded Encode(string text, string? pair = null) => _encoder.Encode(text, pair);

    /// <summary>Run texts in batches; the named outputs of each, flat and without padding.</summary>
    public List<Dictionary<string, float[]>> Run(IReadOnlyList<Encoded> texts, IReadOnlyCollection<string> names)
    {
        if (names.FirstOrDefault(name => !_session.OutputNames.Contains(name)) is { } unknown)
        {
            throw new ArgumentException($"the graph has no output {unknown}");
        }
        return texts.Chunk(BatchSize).SelectMany(batch => RunBatch(batch, names)).ToList();
    }

    private List<Dictionary<string, float[]>> RunBatch(Encoded[] batch, IReadOnlyCollection<string> names)
    {
        int width = Math.Max(1, batch.Max(text => text.Ids.Length));
        List<OrtValue> inputs = [];
        try
        {
            foreach (string name in _session.InputNames)
            {
                inputs.Add(OrtValue.CreateTensorValueFromMemory(Feed(name, batch, width), [batch.Length, width]));
            }
            using var options = new RunOptions();
            using IDisposableReadOnlyCollection<OrtValue> outputs =
                _session.Run(options, _session.InputNames, inputs, names);
            return Split(outputs, batch, width, names);
        }
        finally
        {
            inputs.ForEach(input => input.Dispose());
        }
    }

    /// <summary>One input; what lies behind a text stays 0, which the mask hides.</summary>
    private static long[] Feed(string name, Encoded[] batch, int width)
    {
        var values = new long[batch.Length * width];
        for (int row = 0; row < batch.Length; row++)
        {
            Encoded text = batch[row];
            for (int at = 0; at < text.Ids.Length; at++)
            {
                values[row * width + at] = name switch
                {
                    "input_ids" => text.Ids[at],
                    "attention_mask" => 1,
                    "token_type_ids" => text.Types[at],
                    "pooling_mask" => at < text.Unpooled ? 0 : 1,
                    _ => throw new NotSupportedException($"the graph has an unknown input {name}"),
                };
            }
        }
        return values;
    }

    private List<Dictionary<string, float[]>> Split(
        IEnumerable<OrtValue> outputs, Encoded[] batch, int width, IReadOnlyCollection<string> names)
    {
        List<Dictionary<string, float[]>> rows = batch.Select(_ => new Dictionary<string, float[]>()).ToList();
        foreach ((string name, OrtValue output) in names.Zip(outputs))
        {
            ReadOnlySpan<float> data = output.GetTensorDataAsSpan<float>();
            int size = data.Length / batch.Length;
            for (int row = 0; row < batch.Length; row++)
            {
                int length = _perToken.Contains(name) ? size / width * batch[row].Ids.Length : size;
                rows[row][name] = data.Slice(row * size, length).ToArray();
            }
        }
        return rows;
    }

    /// <summary>The first numbers of a Matryoshka vector, scaled to length 1 again.</summary>
    public static float[] Shorten(float[] vector, int dimensions)
    {
        float[] cut = vector[..Math.Min(dimensions, vector.Length)];
        double norm = Math.Max(Math.Sqrt(cut.Sum(value => (double)value * value)), 1e-12);
        return Array.ConvertAll(cut, value => (float)(value / norm));
    }

    public void Dispose() => _session.Dispose();
}
