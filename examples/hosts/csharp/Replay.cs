using System.Text.Json;

namespace BundleHost;

/// <summary>Replays golden.json: this host's token ids and outputs beside the reference's.</summary>
public sealed class Replay
{
    private readonly Bundle _bundle;
    private readonly double _maxAbs;
    private readonly double _minCosine;

    public int Cases { get; private set; }

    public double Gap { get; private set; }

    public double Cosine { get; private set; } = 1;

    public List<string> Failures { get; } = [];

    public Replay(Bundle bundle, JsonElement golden)
    {
        JsonElement cases = golden.GetProperty("cases");
        if (golden.GetProperty("format").GetInt32() != 1 || cases.GetArrayLength() == 0)
        {
            throw new NotSupportedException("golden.json is not of format 1, or has no case");
        }
        JsonElement largest = golden.GetProperty("tolerance").GetProperty("max_abs");
        _bundle = bundle;
        _maxAbs = largest.ValueKind == JsonValueKind.Null ? double.PositiveInfinity : largest.GetDouble();
        _minCosine = golden.GetProperty("tolerance").GetProperty("min_cosine").GetDouble();
        foreach (JsonElement stated in cases.EnumerateArray())
        {
            Check(stated);
            Cases++;
        }
    }

    private void Check(JsonElement stated)
    {
        long[] ids = Longs(stated.GetProperty("input_ids"));
        long[] types = Longs(stated.GetProperty("token_type_ids"));
        // This program refuses over-long text; its outputs are compared all the same.
        if (!stated.TryGetProperty("truncated", out JsonElement cut) || !cut.GetBoolean())
        {
            string? pair = stated.GetProperty("pair").GetString();
            Encoded found = _bundle.Encode(stated.GetProperty("text").GetString()!, pair);
            Fail(!found.Ids.SequenceEqual(ids), $"token ids differ: {string.Join(' ', found.Ids)}");
            // Segment ids count only where the graph reads them.
            Fail(_bundle.HasInput("token_type_ids") && !found.Types.SequenceEqual(types), "segment ids differ");
        }
        bool masks = stated.TryGetProperty("pooling_mask", out JsonElement mask);
        int unpooled = masks ? Longs(mask).Count(value => value == 0) : 0;
        JsonElement outputs = stated.GetProperty("outputs");
        string[] names = outputs.EnumerateObject().Select(output => output.Name).ToArray();
        Dictionary<string, float[]> row = _bundle.Run([new Encoded(ids, types, unpooled)], names)[0];
        foreach (string name in names)
        {
            (double gap, double cosine) = Compare(Dense(outputs.GetProperty(name)), row[name]);
            Gap = Math.Max(Gap, gap);
            Cosine = Math.Min(Cosine, cosine);
            Fail(!(gap <= _maxAbs && cosine >= _minCosine), $"{name} differs by {gap:e2} (cosine {cosine:f6})");
        }
    }

    private void Fail(bool differs, string what)
    {
        if (differs)
        {
            Failures.Add($"case {Cases}: {what}");
        }
    }

    /// <summary>Largest difference, relative above magnitude 1, and cosine; one number has no direction.</summary>
    private static (double Gap, double Cosine) Compare(double[] want, float[] got)
    {
        if (want.Length != got.Length)
        {
            return (double.PositiveInfinity, -1);
        }
        double gap = 0, dot = 0, left = 0, right = 0;
        for (int i = 0; i < want.Length; i++)
        {
            gap = Math.Max(gap, Math.Abs(want[i] - got[i]) / Math.Max(1, Math.Abs(want[i]))); // NaN stays NaN
            dot += want[i] * got[i];
            left += want[i] * want[i];
            right += (double)got[i] * got[i];
        }
        return (gap, want.Length == 1 || left * right == 0 ? 1 : dot / Math.Sqrt(left * right));
    }

    private static long[] Longs(JsonElement list) => list.EnumerateArray().Select(item => item.GetInt64()).ToArray();

    /// <summary>An output as the file states it: nested lists, or the non-zero entries of a long vector.</summary>
    private static double[] Dense(JsonElement stated)
    {
        switch (stated.ValueKind)
        {
            case JsonValueKind.Array:
                return stated.EnumerateArray().SelectMany(Dense).ToArray();
            case JsonValueKind.Object:
                var vector = new double[stated.GetProperty("size").GetInt32()];
                long[] indices = Longs(stated.GetProperty("indices"));
                double[] values = Dense(stated.GetProperty("values"));
                for (int i = 0; i < indices.Length; i++)
                {
                    vector[indices[i]] = values[i];
                }
                return vector;
            default:
                return [stated.GetDouble()];
        }
    }
}
