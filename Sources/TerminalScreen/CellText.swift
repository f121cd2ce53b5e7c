// Text as a terminal shows it: cut into glyphs of one or two cells, so that columns line up whatever names clients have.
//
// Promises: no glyph controls the terminal or changes the order of the text (``PrintableText``); a glyph has at most two
// marks above or below it, so that no name grows over other lines; what is wider than its place ends with `…`. Every text
// gives a result, in one pass.
import TextForms

public enum CellText {
  /// What stands in one cell, or in two beside each other.
  public struct Glyph: Equatable, Sendable {
    public var text: String
    /// 1 or 2.
    public var width: Int
  }

  /// The most characters of one text that are looked at: names may have kilobytes, and no terminal is that wide.
  static let longest = 2000
  private static let mostMarks = 2

  public static func glyphs(of text: String) -> [Glyph] {
    if isPlain(text) { return text.utf8.prefix(longest).map { Glyph(text: String(UnicodeScalar($0)), width: 1) } }
    var glyphs: [Glyph] = []
    var marks = 0
    for scalar in PrintableText.escaped(String(text.prefix(longest))).unicodeScalars {
      switch width(of: scalar) {
      case 0:
        // A variation selector would only make terminals disagree about the width.
        guard !glyphs.isEmpty, marks < mostMarks, !(0xFE00...0xFE0F).contains(scalar.value) else { continue }
        glyphs[glyphs.count - 1].text.unicodeScalars.append(scalar)
        marks += 1
      case let width:
        glyphs.append(Glyph(text: String(scalar), width: width))
        marks = 0
      }
    }
    return glyphs
  }

  /// How many cells the text takes.
  public static func width(_ text: String) -> Int {
    isPlain(text) ? min(text.utf8.count, longest) : glyphs(of: text).reduce(0) { $0 + $1.width }
  }

  /// The text, harmless, and where it is wider than this, its beginning and `…`.
  public static func cut(_ text: String, to width: Int) -> String {
    if isPlain(text), text.utf8.count <= min(width, longest) { return text }
    let glyphs = glyphs(of: text)
    if glyphs.reduce(0, { $0 + $1.width }) <= width { return glyphs.map(\.text).joined() }
    guard width > 0 else { return "" }
    var room = width - 1
    var cut = ""
    for glyph in glyphs {
      guard glyph.width <= room else { break }
      room -= glyph.width
      cut += glyph.text
    }
    return cut + "…"
  }

  /// The text in exactly so many cells.
  /// - Parameter right: stands to the right, as numbers do.
  public static func fitted(_ text: String, to width: Int, right: Bool = false) -> String {
    let text = cut(text, to: width)
    let gap = String(repeating: " ", count: max(0, width - CellText.width(text)))
    return right ? gap + text : text + gap
  }

  /// The text in lines of at most so many cells, broken between words where possible; line feeds in it end lines.
  /// - Parameter indent: what later lines of one line begin with.
  public static func wrapped(_ text: String, to width: Int, indent: String = "") -> [String] {
    text.split(separator: "\n", omittingEmptySubsequences: false).flatMap { line -> [String] in
      var lines: [String] = []
      var current: [Glyph] = []
      var used = 0
      for glyph in glyphs(of: String(line)) {
        if used + glyph.width > max(2, width), !current.isEmpty {
          let deep = CellText.glyphs(of: indent).count * 2 < width ? CellText.glyphs(of: indent) : []
          // Between words, unless one is longer than half a line.
          let space =
            current.lastIndex { $0.text == " " }.flatMap { $0 < current.count / 2 ? nil : $0 } ?? current.count
          var rest = Array(current.dropFirst(space + 1))
          if (deep + rest + [glyph]).reduce(0, { $0 + $1.width }) > width {
            lines.append(current.map(\.text).joined())
            rest = []
          } else {
            lines.append(current[..<space].map(\.text).joined())
          }
          current = deep + rest
          used = current.reduce(0) { $0 + $1.width }
        }
        current.append(glyph)
        used += glyph.width
      }
      return lines + [current.map(\.text).joined()]
    }
  }

  private static func isPlain(_ text: String) -> Bool { text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F } }

  /// 0 for marks, 2 for what East Asian terminals show in two cells, else 1.
  static func width(of scalar: Unicode.Scalar) -> Int {
    let value = scalar.value
    if value < 0x300 { return 1 }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark: return 0
    default: break
    }
    // The vowels and finals of decomposed Hangul join the letter before them.
    if (0x1160...0x11FF).contains(value) || (0xD7B0...0xD7FF).contains(value) { return 0 }
    var (low, high) = (0, wide.count)
    while low < high {
      let middle = (low + high) / 2
      if value > wide[middle].upperBound { low = middle + 1 } else { high = middle }
    }
    return low < wide.count && wide[low].contains(value) ? 2 : 1
  }

  /// The wide and full-width characters of Unicode's East Asian Width, neighbours taken together.
  private static let wide: [ClosedRange<UInt32>] = [
    0x1100...0x115F, 0x231A...0x231B, 0x2329...0x232A, 0x23E9...0x23EC, 0x23F0...0x23F0, 0x23F3...0x23F3,
    0x25FD...0x25FE, 0x2614...0x2615, 0x2648...0x2653, 0x267F...0x267F, 0x2693...0x2693, 0x26A1...0x26A1,
    0x26AA...0x26AB, 0x26BD...0x26BE, 0x26C4...0x26C5, 0x26CE...0x26CE, 0x26D4...0x26D4, 0x26EA...0x26EA,
    0x26F2...0x26F3, 0x26F5...0x26F5, 0x26FA...0x26FA, 0x26FD...0x26FD, 0x2705...0x2705, 0x270A...0x270B,
    0x2728...0x2728, 0x274C...0x274C, 0x274E...0x274E, 0x2753...0x2755, 0x2757...0x2757, 0x2795...0x2797,
    0x27B0...0x27B0, 0x27BF...0x27BF, 0x2B1B...0x2B1C, 0x2B50...0x2B50, 0x2B55...0x2B55, 0x2E80...0x303E,
    0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0xA4CF, 0xA960...0xA97F, 0xAC00...0xD7A3, 0xF900...0xFAFF,
    0xFE10...0xFE19, 0xFE30...0xFE6F, 0xFF01...0xFF60, 0xFFE0...0xFFE6, 0x16FE0...0x18DFF, 0x1AFF0...0x1B2FF,
    0x1F004...0x1F004, 0x1F0CF...0x1F0CF, 0x1F18E...0x1F18E, 0x1F191...0x1F19A, 0x1F200...0x1F320,
    0x1F32D...0x1F335, 0x1F337...0x1F37C, 0x1F37E...0x1F393, 0x1F3A0...0x1F3CA, 0x1F3CF...0x1F3D3,
    0x1F3E0...0x1F3F0, 0x1F3F4...0x1F3F4, 0x1F3F8...0x1F43E, 0x1F440...0x1F440, 0x1F442...0x1F4FC,
    0x1F4FF...0x1F53D, 0x1F54B...0x1F54E, 0x1F550...0x1F567, 0x1F57A...0x1F57A, 0x1F595...0x1F596,
    0x1F5A4...0x1F5A4, 0x1F5FB...0x1F64F, 0x1F680...0x1F6C5, 0x1F6CC...0x1F6CC, 0x1F6D0...0x1F6D2,
    0x1F6D5...0x1F6D7, 0x1F6DC...0x1F6DF, 0x1F6EB...0x1F6EC, 0x1F6F4...0x1F6FC, 0x1F7E0...0x1F7EB,
    0x1F7F0...0x1F7F0, 0x1F90C...0x1F93A, 0x1F93C...0x1F945, 0x1F947...0x1F9FF, 0x1FA70...0x1FAFF,
    0x20000...0x2FFFD, 0x30000...0x3FFFD,
  ]
}
