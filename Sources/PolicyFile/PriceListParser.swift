// Parses the prices file's text into a checked `PriceList`. Pure, and reports all mistakes with their place, as the
// policy's parser does. Decimals become whole numbers without binary fractions in between.
import AdmissionCore
import Pricing
import TextForms

/// The result of parsing a prices file.
public struct PriceListParsing: Sendable, Equatable {
  /// nil if and only if `diagnostics` is not empty.
  public var prices: PriceList?
  /// In the file's order.
  public var diagnostics: [Diagnostic]
}

public enum PriceListParser {
  /// - Parameters:
  ///   - text: the file's content, YAML 1.2, at most 4 MiB.
  ///   - file: its name, for diagnostics only.
  ///   - environment: the variables for `${NAME}`.
  public static func parse(text: String, file: String, environment: [String: String]) -> PriceListParsing {
    let reader = FieldReader(file: file, subject: "prices")
    let document = YAMLDocument(text: text, environment: environment)
    for mistake in document.mistakes { reader.report(mistake.position, mistake.field, mistake.message) }
    var list = PriceList(version: "", entries: [])
    if let root = document.root, let top = reader.fields(root, "", known: ["version", "models"]) {
      let allowed = "a name of 1 to 64 bytes, such as 2026-11-20"
      if let (text, node) = top.scalar("version", allowed: allowed, isRequired: true) {
        list.version = text
        if text.isEmpty || text.utf8.count > 64 || !text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) {
          reader.report(node.position, "version", "found \(node.found), allowed: \(allowed)")
        }
      }
      list.entries = PriceBuilder(reader: reader).entries(top)
    }
    let diagnostics = reader.diagnostics
    return PriceListParsing(prices: diagnostics.isEmpty ? list : nil, diagnostics: diagnostics)
  }
}

extension PriceList {
  /// The prices for policies that name no file. A test parses the table, so that it cannot be wrong at run time.
  public static let builtIn: PriceList =
    PriceListParser.parse(text: builtInText, file: "built-in prices", environment: [:]).prices
    ?? PriceList(version: "none", entries: [])
}

private struct PriceBuilder {
  let reader: FieldReader

  static let rateFields = [
    "input", "output", "reasoning", "cache_read", "cache_write", "cache_write_1h", "audio_input", "audio_output",
    "image_input", "image_output",
  ]
  static let modelFields =
    rateFields + [
      "batch", "flex", "priority", "above", "request", "audio_second", "valid_from", "valid_until", "off_peak",
      "factors",
    ]
  /// A dollar per token: a higher rate is a mix-up of prices per token and per million tokens.
  static let highestRate: Int64 = 1_000_000_000_000

  func entries(_ top: Fields) -> [ModelPrice] {
    let shape = "a mapping of model globs to prices"
    guard let node = top.required("models", allowed: shape),
      let models = reader.fields(node, "models", known: nil, shape: shape)
    else { return [] }
    var entries: [ModelPrice] = []
    for entry in models.entries {
      let path = models.path(of: entry.name)
      let name = YAMLNode(content: .scalar(entry.name, isPlain: false), position: entry.position, written: entry.name)
      let glob = reader.glob(name, path) ?? "*"
      // A model whose price changes has a list of prices, each with its dates.
      if case .sequence(let items) = entry.value.content {
        for (index, item) in items.enumerated() {
          if let price = price(item, "\(path)[\(index)]", glob) { entries.append(price) }
        }
      } else if let price = price(entry.value, path, glob) {
        entries.append(price)
      }
    }
    return entries
  }

  private func price(_ node: YAMLNode, _ path: String, _ glob: Glob) -> ModelPrice? {
    guard
      let fields = reader.fields(
        node, path, known: PriceBuilder.modelFields, shape: "a mapping of prices, or a list of them")
    else { return nil }
    var price = ModelPrice(models: glob, rates: rates(fields))
    price.batch = block(fields, "batch").map { rates($0) }
    price.flex = block(fields, "flex").map { rates($0) }
    price.priority = block(fields, "priority").map { rates($0) }
    if let above = block(fields, "above", ["tokens"]) {
      let range: ClosedRange<Int64> = 1...1_000_000_000
      _ = above.required("tokens", allowed: "a whole number from \(range.lowerBound) to \(range.upperBound)")
      price.above = LongContextPrice(
        tokens: TokenCount(above.integer("tokens", range) ?? 0), rates: rates(above))
    }
    price.perRequest = fee(fields, "request")
    price.perAudioSecond = fee(fields, "audio_second")
    price.validFrom = day(fields, "valid_from")
    price.validUntil = day(fields, "valid_until")
    if let from = price.validFrom, let until = price.validUntil, until < from {
      fields.report("valid_until", "\(until) is before valid_from, allowed: \(from) or later")
    }
    price.offPeak = offPeak(fields)
    price.factors = factors(fields)
    if fields["input"] == nil, fields["request"] == nil, fields["audio_second"] == nil {
      reader.report(node.position, fieldPath(path, "input"), "is missing, allowed: input, or request, or audio_second")
    }
    return price
  }

  private func block(_ fields: Fields, _ name: String, _ more: [String] = []) -> Fields? {
    fields[name].flatMap { reader.fields($0, fields.path(of: name), known: more + PriceBuilder.rateFields) }
  }

  private func rates(_ fields: Fields) -> PriceRates {
    PriceRates(
      input: rate(fields, "input"), output: rate(fields, "output"), reasoning: rate(fields, "reasoning"),
      cacheRead: rate(fields, "cache_read"), cacheWrite: rate(fields, "cache_write"),
      cacheWrite1h: rate(fields, "cache_write_1h"), audioInput: rate(fields, "audio_input"),
      audioOutput: rate(fields, "audio_output"), imageInput: rate(fields, "image_input"),
      imageOutput: rate(fields, "image_output"))
  }

  private func rate(_ fields: Fields, _ name: String) -> PriceRate? {
    decimal(
      fields, name, places: 6, upTo: PriceBuilder.highestRate, "0 to 1000000 USD per 1M tokens, at most six decimals")
  }

  private func fee(_ fields: Fields, _ name: String) -> Money {
    let most: Int64 = 1_000_000_000_000
    let allowed = "0 to 1000 USD, at most nine decimals"
    return Money(nanodollars: decimal(fields, name, places: 9, upTo: most, allowed) ?? 0)
  }

  private func factor(_ fields: Fields, _ name: String) -> Int64? {
    decimal(fields, name, places: 6, upTo: 1_000_000_000, "0 to 1000, at most six decimals")
  }

  private func decimal(_ fields: Fields, _ name: String, places: Int, upTo most: Int64, _ allowed: String) -> Int64? {
    guard let (text, node) = fields.scalar(name, allowed: allowed) else { return nil }
    if let value = DecimalText.exact(text.utf8, places: places), value <= most { return value }
    reader.report(node.position, fields.path(of: name), "found \(node.found), allowed: \(allowed)")
    return nil
  }

  private func day(_ fields: Fields, _ name: String) -> CalendarDay? {
    let allowed = "a day such as 2026-11-20"
    guard let (text, node) = fields.scalar(name, allowed: allowed) else { return nil }
    if let day = CalendarDay(text) { return day }
    reader.report(node.position, fields.path(of: name), "found \(node.found), allowed: \(allowed)")
    return nil
  }

  private func offPeak(_ fields: Fields) -> OffPeakPrice? {
    guard let block = block(fields, "off_peak", ["windows", "factor"]) else { return nil }
    let what = "UTC times, such as [\"16:30-00:30\"]"
    var windows: [OffPeakPrice.Window] = []
    if block.required("windows", allowed: "a list of \(what)") != nil, let items = block.list("windows", of: what) {
      if items.isEmpty { block.report("windows", "an empty list, allowed: a list of \(what)") }
      for item in items {
        guard let text = reader.scalar(item.node, item.path, allowed: "HH:MM-HH:MM") else { continue }
        if let window = PriceBuilder.window(text) {
          windows.append(window)
        } else {
          reader.report(
            item.node.position, item.path, "found \(item.node.found), allowed: HH:MM-HH:MM, two different times")
        }
      }
    }
    return OffPeakPrice(windows: windows, factor: factor(block, "factor") ?? 1_000_000, rates: rates(block))
  }

  private static func window(_ text: String) -> OffPeakPrice.Window? {
    func minute(_ text: Substring) -> Int? {
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 2 }), let hour = wholeNumber(parts[0]),
        let minute = wholeNumber(parts[1]), hour < 24, minute < 60
      else { return nil }
      return Int(hour * 60 + minute)
    }
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, let from = minute(parts[0]), let until = minute(parts[1]), from != until else { return nil }
    return OffPeakPrice.Window(from: from, until: until)
  }

  private func factors(_ fields: Fields) -> [String: Int64] {
    guard let node = fields["factors"],
      let entries = reader.fields(
        node, fields.path(of: "factors"), known: nil, shape: "a mapping of regions and speeds to factors")
    else { return [:] }
    var factors: [String: Int64] = [:]
    for entry in entries.entries {
      if !reader.isName(entry.name) {
        let path = entries.path(of: entry.name)
        reader.report(entry.position, path, "found \(quoted(entry.name)), allowed: \(FieldReader.nameRule)")
      }
      if let factor = factor(entries, entry.name) { factors[entry.name.lowercased()] = factor }
    }
    return factors
  }
}
