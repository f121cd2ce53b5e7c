// Reads the few form fields of a multipart body that matter: which model, whether a stream, how much text and file
// there is (RFC 7578).

enum FormData {
  struct Facts: Equatable {
    var model: String?
    var stream = false
    var choices = 1
    /// Bytes in fields without a file name.
    var textBytes = 0
    /// Bytes in fields with one.
    var fileBytes = 0
  }

  /// The boundary of a `multipart/form-data` content type; nil for other types and without one.
  static func boundary(_ contentType: String) -> String? {
    // Nearly every request is JSON: one look at the first letter ends it.
    guard let first = contentType.utf8.first(where: { $0 != 0x20 && $0 != 0x09 }), first | 0x20 == UInt8(ascii: "m")
    else { return nil }
    let parts = contentType.split(separator: ";")
    guard let type = parts.first, trimmed(type).lowercased() == "multipart/form-data" else { return nil }
    for part in parts.dropFirst() {
      let pair = trimmed(part)
      guard pair.lowercased().hasPrefix("boundary=") else { continue }
      var value = pair.dropFirst("boundary=".count)
      if value.count >= 2, value.hasPrefix("\""), value.hasSuffix("\"") { value = value.dropFirst().dropLast() }
      return value.isEmpty || value.utf8.count > 200 ? nil : String(value)
    }
    return nil
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var text = text
    while text.first == " " || text.first == "\t" { text.removeFirst() }
    while text.last == " " || text.last == "\t" { text.removeLast() }
    return text
  }

  /// Reads all parts; of a field given twice the last value counts. A broken body gives what was readable.
  static func read(_ body: [UInt8], boundary: String) -> Facts {
    var facts = Facts()
    let delimiter = Array("--\(boundary)".utf8)
    var starts: [Int] = []
    var from = 0
    while let found = ByteSearch.first(delimiter, in: body[...], from: from), starts.count < 1024 {
      // A delimiter stands at the start of a line.
      if found == 0 || body[found - 1] == 0x0A { starts.append(found) }
      from = found + delimiter.count
    }
    for (index, start) in starts.enumerated() {
      let end = index + 1 < starts.count ? starts[index + 1] : body.count
      addPart(body[(start + delimiter.count)..<end], &facts)
    }
    return facts
  }

  private static func addPart(_ part: ArraySlice<UInt8>, _ facts: inout Facts) {
    guard let blank = ByteSearch.first(Array("\r\n\r\n".utf8), in: part, from: part.startIndex) else { return }
    var content = part[(blank + 4)...]
    if content.last == 0x0A { content = content.dropLast() }
    if content.last == 0x0D { content = content.dropLast() }
    let head = String(decoding: part[..<blank], as: UTF8.self)
    var name: Substring?
    var isFile = false
    for line in head.split(whereSeparator: \.isNewline)
    where line.lowercased().hasPrefix("content-disposition:") {
      for piece in line.split(separator: ";").dropFirst() {
        let pair = trimmed(piece)
        if pair.lowercased().hasPrefix("name=") {
          name = pair.dropFirst(5)
          if let value = name, value.count >= 2, value.hasPrefix("\"") { name = value.dropFirst().dropLast() }
        } else if pair.lowercased().hasPrefix("filename") {
          isFile = true
        }
      }
    }
    if isFile {
      facts.fileBytes += content.count
      return
    }
    switch name {
    case "model": facts.model = String(decoding: content.prefix(512), as: UTF8.self)
    case "stream": facts.stream = content.elementsEqual("true".utf8)
    case "n": facts.choices = Int(String(decoding: content.prefix(8), as: UTF8.self)).map { min(max($0, 1), 1024) } ?? 1
    case "prompt": facts.textBytes += content.count
    default: break
    }
  }
}
