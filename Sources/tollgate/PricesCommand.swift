// `tollgate prices`: shows what a model costs by the price list that a broker would use.
import AdmissionCore
import ArgumentParser
import BrokerEngine
import Foundation
import PolicyFile
import Pricing
import ProcessOutput
import TerminalScreen
import TextForms

struct PricesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prices", abstract: "Show what models cost, in US dollars per 1M tokens.",
    discussion: """
      Shows the built-in list, or with --policy or --file another. With a model's name, the price that this model gets, with its tiers
      and thresholds. A model without a price costs "unknown"; 'unknown_price: reject' in the policy refuses such calls.

        tollgate prices
        tollgate prices claude-opus-5
        tollgate prices --file prices.yaml gpt-6-sol
        tollgate prices --yaml > prices.yaml       the built-in list as a file, to change
      """)

  @Argument(help: "A model's name, as clients send it.") var model: String?
  @Option(help: "Prices file instead of the built-in list.") var file: String?
  @Option(help: "Policy whose prices to show.") var policy: String?
  @Flag(help: "The built-in list as a prices file.") var yaml = false
  @Flag(help: "As JSON: the list, or the model's price.") var json = false

  func validate() throws {
    if file != nil, policy != nil { throw ValidationError("give --file or --policy, not both") }
    if yaml, file != nil || policy != nil || model != nil || json { throw ValidationError("--yaml goes alone") }
  }

  func run() throws {
    if yaml { return Terminal.line(PriceList.builtInText) }
    let list = try list()
    guard let model else {
      if json { return Terminal.line(PricesJSON.text(list, list.entries)) }
      var table = TextTable(["MODEL", "INPUT", "OUTPUT", "CACHE READ", "CACHE WRITE", "1H"], right: [1, 2, 3, 4, 5])
      for entry in list.entries { table.row([entry.models.pattern] + PricesCommand.cells(entry.rates)) }
      Terminal.line(
        "prices \(list.version), USD per 1M tokens; the first that matches counts\n\n\(table.text(width: TerminalDevice.size?.columns))"
      )
      return
    }
    let book = PriceBook(list)
    let now = Int64(Date().timeIntervalSince1970 * 1e9)
    guard let price = book.price(of: model, at: now) else {
      throw CommandRefusal(
        "the model '\(model)' has no price in the list of \(list.version). Name it in a prices file ('tollgate prices --yaml' "
          + "prints one to start from) and the file under 'prices:' in the policy.")
    }
    if json { return Terminal.line(PricesJSON.text(list, [price], model: model)) }
    Terminal.line("\(model): '\(price.models.pattern)' of prices \(list.version), USD per 1M tokens\n")
    var table = TextTable(["TIER", "INPUT", "OUTPUT", "CACHE READ", "CACHE WRITE", "1H"], right: [1, 2, 3, 4, 5])
    for tier in PriceTier.allCases where tier == .standard || price.names(tier) {
      table.row([tier.rawValue] + PricesCommand.cells(price.rates(tier: tier, inputTokens: 0)))
      if let above = price.above {
        table.row(
          ["\(tier.rawValue), over \(above.tokens) tokens"]
            + PricesCommand.cells(price.rates(tier: tier, inputTokens: above.tokens + 1)))
      }
    }
    Terminal.line(table.text(width: TerminalDevice.size?.columns))
    for line in PricesCommand.more(price) { Terminal.line(line) }
  }

  private func list() throws -> PriceList {
    if let file { return try PolicyLoading.priceList(at: file) }
    if let policy {
      return try PolicyLoading.prices(of: PolicyLoading.policy(at: policy), relativeTo: policy).list
    }
    return .builtIn
  }

  private static func cells(_ rates: PriceRates) -> [String] {
    [rates.input, rates.output, rates.cacheRead, rates.cacheWrite, rates.cacheWrite1h].map { $0.map(dollars) ?? "-" }
  }

  private static func more(_ price: ModelPrice) -> [String] {
    var lines: [String] = []
    let rates = price.rates
    let parts: [(String, PriceRate?)] = [
      ("reasoning", rates.reasoning), ("audio in", rates.audioInput), ("audio out", rates.audioOutput),
      ("image in", rates.imageInput), ("image out", rates.imageOutput),
    ]
    for (name, rate) in parts { if let rate { lines.append("\(name): \(dollars(rate))") } }
    if price.perRequest > .zero { lines.append("each request: \(AmountText.dollars(price.perRequest.text))") }
    if price.perAudioSecond > .zero {
      lines.append("each second of audio: \(AmountText.dollars(price.perAudioSecond.text))")
    }
    for (name, factor) in price.factors.sorted(by: { $0.key < $1.key }) {
      lines.append("\(name): × \(decimal(factor))")
    }
    if let offPeak = price.offPeak {
      let windows = offPeak.windows.map { "\(time($0.from)) to \(time($0.until)) UTC" }.joined(separator: ", ")
      lines.append("cheaper \(windows): × \(decimal(offPeak.factor))")
    }
    if let from = price.validFrom { lines.append("from \(from)") }
    if let until = price.validUntil { lines.append("until \(until)") }
    return lines.isEmpty ? [] : [""] + lines
  }

  /// Minutes since midnight: `08:30`.
  static func time(_ minute: Int) -> String { String(format: "%02d:%02d", minute / 60, minute % 60) }

  /// Millionths as a decimal without trailing zeros: 2,500,000 is `2.5`.
  static func decimal(_ millionths: Int64) -> String { DecimalText.text(millionths, places: 6) }

  /// Millionths of a dollar: 2,500,000 is `$2.50`.
  static func dollars(_ millionths: Int64) -> String { AmountText.dollars(decimal(millionths)) }
}
