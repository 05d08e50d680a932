using System.Text;
using System.Text.Json;
using Microsoft.ML.Tokenizers;

namespace BundleHost;

/// <summary>Token ids and segment ids of one text; so many leading tokens stay out of pooling.</summary>
public sealed record Encoded(long[] Ids, long[] Types, int Unpooled = 0);

/// <summary>
/// WordPiece with BERT's pairs. Microsoft.ML.Tokenizers reads no tokenizer.json, so vocabulary and switches are taken
/// out of that file here; a bundle with another kind of tokenizer is refused.
/// </summary>
public sealed class Encoder
{
    private readonly BertTokenizer _tokenizer;
    private readonly int _maxLength;

    public Encoder(string path, int maxLength)
    {
        using JsonDocument file = JsonDocument.Parse(File.ReadAllText(path));
        JsonElement model = file.RootElement.GetProperty("model");
        JsonElement normalizer = file.RootElement.GetProperty("normalizer");
        string kind = model.GetProperty("type").GetString() ?? "";
        if (kind != "WordPiece" || normalizer.ValueKind != JsonValueKind.Object
            || normalizer.GetProperty("type").GetString() != "BertNormalizer")
        {
            throw new NotSupportedException($"this program tokenizes as BERT does; the bundle has {kind}");
        }
        bool lowers = normalizer.GetProperty("lowercase").GetBoolean();
        JsonElement strips = normalizer.GetProperty("strip_accents");
        var options = new BertOptions
        {
            LowerCaseBeforeTokenization = lowers,
            // Null follows the lower-casing.
            RemoveNonSpacingMarks = strips.ValueKind == JsonValueKind.Null ? lowers : strips.GetBoolean(),
            IndividuallyTokenizeCjk = normalizer.GetProperty("handle_chinese_chars").GetBoolean(),
        };
        IEnumerable<string> words = model.GetProperty("vocab").EnumerateObject()
            .OrderBy(entry => entry.Value.GetInt32()).Select(entry => entry.Name);
        using var vocabulary = new MemoryStream(Encoding.UTF8.GetBytes(string.Join('\n', words)));
        _tokenizer = BertTokenizer.Create(vocabulary, options);
        _maxLength = maxLength;
    }

    /// <summary>Ids of a text, or of a pair. Over-long input is an error.</summary>
    public Encoded Encode(string text, string? pair)
    {
        IReadOnlyList<int> first = _tokenizer.EncodeToIds(text, addSpecialTokens: false);
        IReadOnlyList<int>? second = pair is null ? null : _tokenizer.EncodeToIds(pair, addSpecialTokens: false);
        long[] ids = Wide(_tokenizer.BuildInputsWithSpecialTokens(first, second));
        long[] types = Wide(_tokenizer.CreateTokenTypeIdsFromSequences(first, second));
        return ids.Length <= _maxLength
            ? new Encoded(ids, types)
            : throw new ArgumentException($"{ids.Length} tokens; the model takes {_maxLength}");
    }

    private static long[] Wide(IEnumerable<int> values) => values.Select(value => (long)value).ToArray();
}
