// Reads the fields of a multipart body that matter (RFC 7578): models, whether a stream is asked for, and how many
// bytes of text and files there are.
//
// Servers read odd forms in different ways. Forms as clients write them are read here; where a server could find a
// field that was not found here, `mayHideFields` is true, for callers that must not let an unknown model pass.

enum FormData {
  struct Facts: Equatable {
    /// The values of all parts called `model`, files or not, in their order.
    var models: [String] = []
    /// The values of parts whose names a lenient server could take for `model`, such as `MODEL` and `fallbacks`.
    var modelsByOtherNames: [String] = []
    /// Fields that are JSON objects.
    var objects: [ArraySlice<UInt8>] = []
    var stream = false
    var choices = 1
    /// Bytes in fields without a file name.
    var textBytes = 0
    /// Bytes in fields with a file name.
    var fileBytes = 0
    /// True where a server may read a field that is not among the above.
    var mayHideFields = false
    /// The first file whose content begins with a brace, and so may be lines of JSON.
    var lines: ArraySlice<UInt8>?
  }

  /// What a content type says about forms.
  enum Kind: Equatable {
    case noForm
    case urlEncoded
    /// `multipart/form-data` with its boundary.
    case parts(boundary: String)
    /// Another multipart type, or a boundary that servers may read differently.
    case unreadable
  }

  /// The most parts that are read: more than any client sends.
  static let mostParts = 1024

  static func kind(_ contentType: String) -> Kind {
    // Nearly every request is JSON, which the first two letters show.
    let type = contentType.utf8.drop { $0 == 0x20 || $0 == 0x09 }
    guard let first = type.first else { return .noForm }
    if first | 0x20 == UInt8(ascii: "a") {
      guard type.count > 12, type.dropFirst(12).first.map({ $0 | 0x20 }) == UInt8(ascii: "x") else { return .noForm }
      return contentType.lowercased().contains("application/x-www-form-urlencoded") ? .urlEncoded : .noForm
    }
    guard first | 0x20 == UInt8(ascii: "m"),
      let parameters = Parameters(Substring(contentType)), parameters.value.hasPrefix("multipart/")
    else {
      return first | 0x20 == UInt8(ascii: "m") && contentType.lowercased().contains("multipart/")
        ? .unreadable : .noForm
    }
    let boundaries = parameters.items.filter { $0.name.hasPrefix("boundary") }
    guard parameters.value == "multipart/form-data", boundaries.count == 1, boundaries[0].name == "boundary",
      !boundaries[0].value.isEmpty
    else { return .unreadable }
    return .parts(boundary: boundaries[0].value)
  }

  /// Reads all parts. For a broken body, returns what was readable.
  static func read(_ body: [UInt8], boundary: String) -> Facts {
    var facts = Facts()
    let delimiter = Array("--\(boundary)".utf8)
    var open: Int?
    var parts = 0
    var from = 0
    while let found = ByteSearch.first(delimiter, in: body[...], from: from) {
      from = found + delimiter.count
      // A delimiter is at the start of a line.
      guard found == 0 || body[found - 1] == 0x0A else { continue }
      if let open { addPart(body[open..<found], &facts) } else if found > 2 { facts.mayHideFields = true }
      // Two dashes end the form; what follows is ignored.
      if body[from...].starts(with: [0x2D, 0x2D]) {
        if body.count - from > 64 { facts.mayHideFields = true }
        return facts
      }
      open = from
      parts += 1
      guard parts <= mostParts else {
        facts.mayHideFields = true
        return facts
      }
    }
    // The end is missing: some servers read the last part anyway.
    facts.mayHideFields = true
    if let open { addPart(body[open...], &facts) }
    return facts
  }

  private static func addPart(_ part: ArraySlice<UInt8>, _ facts: inout Facts) {
    guard let blank = ByteSearch.first(Array("\r\n\r\n".utf8), in: part, from: part.startIndex),
      blank - part.startIndex <= 8192
    else {
      facts.mayHideFields = true
      return
    }
    var content = part[(blank + 4)...]
    if content.last == 0x0A { content = content.dropLast() }
    if content.last == 0x0D { content = content.dropLast() }
    var names: [String] = []
    var isFile = false
    for line in String(decoding: part[..<blank], as: UTF8.self).split(whereSeparator: \.isNewline) {
      let lower = line.lowercased()
      // Folded header lines, and contents with a transfer encoding, are not read here.
      if line.first == " " || line.first == "\t" { facts.mayHideFields = true }
      if lower.hasPrefix("content-transfer-encoding:"), !["7bit", "8bit", "binary"].contains(where: lower.hasSuffix) {
        facts.mayHideFields = true
      }
      guard lower.hasPrefix("content-disposition") else { continue }
      guard lower.hasPrefix("content-disposition:"), let disposition = Parameters(line.dropFirst(20)) else {
        facts.mayHideFields = true
        continue
      }
      for item in disposition.items {
        switch item.name {
        case "name": names.append(item.value)
        case "filename", "filename*": isFile = true
        default: if item.name.hasPrefix("name") { facts.mayHideFields = true }
        }
      }
    }
    if names.count != 1 { facts.mayHideFields = true }
    // A part called `model` counts even if it has a file name.
    if names.contains("model") {
      if content.count <= RequestFacts.longestModel {
        facts.models.append(String(decoding: content, as: UTF8.self))
      } else {
        facts.mayHideFields = true
      }
    }
    if let name = names.first(where: { $0 != "model" && ModelWords.nameModel(field: $0) }) {
      if content.count <= RequestFacts.longestModel, name.utf8.count <= RequestFacts.longestModel {
        facts.modelsByOtherNames.append(String(decoding: content, as: UTF8.self))
      } else {
        facts.mayHideFields = true
      }
    }
    if isFile {
      facts.fileBytes += content.count
      if facts.lines == nil, content.first == UInt8(ascii: "{") { facts.lines = content }
      return
    }
    // A prompt may begin with a brace, and is not read as an object.
    if names.last != "prompt", content.first(where: { $0 > 0x20 }) == UInt8(ascii: "{") {
      facts.objects.append(content)
    }
    switch names.last {
    case "stream": facts.stream = content.elementsEqual("true".utf8)
    case "n": facts.choices = Int(String(decoding: content.prefix(8), as: UTF8.self)).map { min(max($0, 1), 1024) } ?? 1
    case "prompt": facts.textBytes += content.count
    default: break
    }
  }

  /// A field's value with its parameters: `form-data; name="model"; filename="a;b.txt"`.
  struct Parameters {
    /// The part before the first semicolon, in lower case.
    var value: String
    /// Names in lower case, values without their quotes.
    var items: [(name: String, value: String)] = []

    /// nil where the value can be read in more than one way.
    init?(_ text: Substring) {
      var rest = text.utf8[...]
      func trimmed(_ bytes: Substring.UTF8View.SubSequence) -> Substring.UTF8View.SubSequence {
        var bytes = bytes.drop { $0 == 0x20 || $0 == 0x09 }
        while let last = bytes.last, last == 0x20 || last == 0x09 { bytes = bytes.dropLast() }
        return bytes
      }
      value = String(Substring(trimmed(rest.prefix { $0 != UInt8(ascii: ";") }))).lowercased()
      rest = rest.drop { $0 != UInt8(ascii: ";") }
      while rest.popFirst() != nil {
        rest = rest.drop { $0 == 0x20 || $0 == 0x09 }
        if rest.isEmpty { return }
        let name = rest.prefix { $0 != UInt8(ascii: "=") && $0 != UInt8(ascii: ";") }
        rest = rest.dropFirst(name.count)
        guard rest.first == UInt8(ascii: "=") else {
          if trimmed(name).isEmpty { continue }
          return nil
        }
        rest = rest.dropFirst().drop { $0 == 0x20 || $0 == 0x09 }
        var content: [UInt8] = []
        if rest.first == UInt8(ascii: "\"") {
          rest = rest.dropFirst()
          while let byte = rest.first, byte != UInt8(ascii: "\"") {
            rest = rest.dropFirst()
            // A backslash escapes only a quote, since Windows paths contain backslashes.
            if byte == UInt8(ascii: "\\"), rest.first == UInt8(ascii: "\"") {
              content.append(UInt8(ascii: "\""))
              rest = rest.dropFirst()
            } else {
              content.append(byte)
            }
          }
          guard rest.popFirst() != nil else { return nil }
          guard trimmed(rest.prefix { $0 != UInt8(ascii: ";") }).isEmpty else { return nil }
          rest = rest.drop { $0 != UInt8(ascii: ";") }
        } else {
          content = Array(trimmed(rest.prefix { $0 != UInt8(ascii: ";") }))
          if content.contains(UInt8(ascii: "\"")) { return nil }
          rest = rest.drop { $0 != UInt8(ascii: ";") }
        }
        items.append(
          (String(Substring(trimmed(name))).lowercased(), String(decoding: content, as: UTF8.self)))
      }
    }
  }
}
