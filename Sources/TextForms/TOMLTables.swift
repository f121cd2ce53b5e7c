// Sets keys of a TOML text and leaves every other line as it is: for settings files that people keep.
//
// Promises: a line that can be no TOML is an error with its place; what has the wanted value already is not touched, so that a
// second setting changes nothing. Values over several lines are stepped over, not read.

public enum TOMLTables {
  /// The text with these keys in a table, which is added where it is missing; the empty name means the top of the file.
  /// - Parameter keys: values as TOML is written, such as `"text"` with its quotes, or `true`.
  public static func setting(_ keys: [(name: String, value: String)], inTable table: String, of text: String)
    throws(SettingsMistake) -> String
  {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    if lines.last == "" { lines.removeLast() }
    let tables = try read(lines)
    guard let place = tables.first(where: { $0.name == table }) else {
      if let last = lines.last, !trimmed(last).isEmpty { lines.append("") }
      lines.append("[\(table)]")
      return (lines + keys.map { "\($0.name) = \($0.value)" }).joined(separator: "\n") + "\n"
    }
    // After the last line that says anything, so that the comments above the next table stay with it. At the top of the file that may be
    // before everything else.
    var end = place.end
    while end > place.begin, isSilent(lines[end - 1]) { end -= 1 }
    if table.isEmpty, end == 0, !lines.isEmpty { lines.insert("", at: 0) }
    for key in keys {
      let line = "\(key.name) = \(key.value)"
      if let at = place.keys[key.name] {
        if value(of: lines[at]) != key.value { lines[at] = line }
      } else {
        lines.insert(line, at: end)
        end += 1
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private struct Table {
    var name: String
    /// Its lines without the header.
    var begin: Int
    var end: Int
    var keys: [String: Int] = [:]
  }

  private static func read(_ lines: [String]) throws(SettingsMistake) -> [Table] {
    var tables = [Table(name: "", begin: 0, end: 0)]
    var opened = Value()
    for (index, line) in lines.enumerated() {
      var text = trimmed(line)
      if opened.isOpen {
        try opened.read(text, line: index + 1)
      } else if text.hasPrefix("[") {
        if let comment = text.lastIndex(of: "]") { text = String(text[...comment]) }
        guard text.hasSuffix("]"), text.utf8.count > 2 else { throw mistake("a table's name has no ]", index) }
        let name = text.filter { $0 != "[" && $0 != "]" && $0 != " " }
        tables.append(Table(name: text.hasPrefix("[[") ? "[" + name : name, begin: index + 1, end: index + 1))
      } else if !isSilent(text) {
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
          throw mistake("expected a key, = and a value", index)
        }
        let rest = trimmed(String(text[text.index(after: equals)...]))
        guard !rest.isEmpty, !rest.hasPrefix("#") else { throw mistake("a value is missing", index) }
        opened = Value()
        try opened.read(rest, line: index + 1)
        let name = trimmed(String(text[..<equals]))
        guard tables[tables.count - 1].keys.updateValue(index, forKey: name) == nil else {
          throw mistake("'\(name)' stands here a second time", index)
        }
      }
      tables[tables.count - 1].end = index + 1
    }
    if opened.isOpen { throw mistake("a string or an array without its end", opened.line - 1) }
    return tables
  }

  /// How much of a value is still open: a string over several lines, or brackets.
  private struct Value {
    var depth = 0
    var string: String?
    var line = 0
    var isOpen: Bool { depth > 0 || string != nil }

    mutating func read(_ text: String, line: Int) throws(SettingsMistake) {
      if !isOpen { self.line = line }
      var rest = Substring(text)
      while let first = rest.first {
        if let open = string {
          if rest.hasPrefix(open) {
            string = nil
            rest.removeFirst(open.count)
          } else {
            rest.removeFirst(first == "\\" && open.first == "\"" ? min(2, rest.count) : 1)
          }
        } else if first == "#" {
          break
        } else if first == "\"" || first == "'" {
          let long = String(repeating: first, count: 3)
          string = rest.hasPrefix(long) ? long : String(first)
          rest.removeFirst(string?.count ?? 1)
        } else {
          if first == "[" || first == "{" { depth += 1 }
          if first == "]" || first == "}" { depth -= 1 }
          rest.removeFirst()
        }
      }
      if string?.count == 1 { throw TOMLTables.mistake("a string without its end", line - 1) }
      if depth < 0 { throw TOMLTables.mistake("a bracket too many", line - 1) }
    }
  }

  private static func mistake(_ message: String, _ index: Int) -> SettingsMistake {
    SettingsMistake(line: index + 1, column: 1, message: message)
  }

  /// The value of a line `key = value`, without a comment behind it.
  private static func value(of line: String) -> String {
    guard let equals = line.firstIndex(of: "=") else { return "" }
    let text = trimmed(String(line[line.index(after: equals)...]))
    guard text.hasPrefix("\""), let end = text.dropFirst().firstIndex(of: "\"") else { return text }
    return String(text[...end])
  }

  private static func isSilent(_ line: String) -> Bool {
    let text = trimmed(line)
    return text.isEmpty || text.hasPrefix("#")
  }

  private static func trimmed(_ text: String) -> String {
    var part = Substring(text)
    while let last = part.last, last == " " || last == "\t" || last == "\r" { part.removeLast() }
    while let first = part.first, first == " " || first == "\t" { part.removeFirst() }
    return String(part)
  }
}
