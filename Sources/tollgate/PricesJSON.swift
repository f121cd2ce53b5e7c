// A price list for machines: `tollgate prices --json`.
//
// Promises: fields may be added, none is renamed; money has nine decimals, as in the API; what the list does not price is null.
import AdmissionCore
import Pricing
import TextForms

enum PricesJSON {
  /// - Parameter model: whose price it is; nil for the whole list.
  static func text(_ list: PriceList, _ entries: [ModelPrice], model: String? = nil) -> String {
    var json = JSONWriter(reserving: 1 << 16)
    json.object { json in
      json.member("version", list.version)
      json.member("model", model)
      json.key("prices")
      json.array(entries) { json, entry in json.object { json in price(&json, entry) } }
    }
    return String(decoding: json.bytes, as: UTF8.self)
  }

  private static func price(_ json: inout JSONWriter, _ entry: ModelPrice) {
    json.member("models", entry.models.pattern)
    rates(&json, entry.rates)
    json.member("request_usd", billionths: entry.perRequest.nanodollars)
    json.member("audio_second_usd", billionths: entry.perAudioSecond.nanodollars)
    json.key("tiers")
    json.object { json in
      for tier in PriceTier.allCases where entry.names(tier) {
        json.key(named: tier.rawValue)
        json.object { json in rates(&json, entry.rates(tier: tier, inputTokens: 0)) }
      }
    }
    json.key("above")
    if let above = entry.above {
      json.object { json in
        json.member("tokens", above.tokens.value)
        rates(&json, above.rates.completed(from: entry.rates))
      }
    } else {
      json.null()
    }
    json.key("factors")
    json.object { json in
      for (name, factor) in entry.factors.sorted(by: { $0.key < $1.key }) {
        json.key(named: name)
        json.value(DecimalText.text(factor, places: 6))
      }
    }
    json.key("off_peak")
    if let offPeak = entry.offPeak {
      json.object { json in
        json.key("windows")
        json.array(offPeak.windows) { json, window in
          json.object { json in
            json.member("from", PricesCommand.time(window.from))
            json.member("until", PricesCommand.time(window.until))
          }
        }
        json.member("factor", DecimalText.text(offPeak.factor, places: 6))
        rates(&json, offPeak.rates.completed(from: entry.rates))
      }
    } else {
      json.null()
    }
    json.member("valid_from", entry.validFrom.map { "\($0)" })
    json.member("valid_until", entry.validUntil.map { "\($0)" })
  }

  /// US dollars for a million tokens of each sort.
  private static func rates(_ json: inout JSONWriter, _ rates: PriceRates) {
    json.member("input_usd_per_m", billionths: nanos(rates.input))
    json.member("output_usd_per_m", billionths: nanos(rates.output))
    json.member("reasoning_usd_per_m", billionths: nanos(rates.reasoning))
    json.member("cache_read_usd_per_m", billionths: nanos(rates.cacheRead))
    json.member("cache_write_usd_per_m", billionths: nanos(rates.cacheWrite))
    json.member("cache_write_1h_usd_per_m", billionths: nanos(rates.cacheWrite1h))
    json.member("audio_input_usd_per_m", billionths: nanos(rates.audioInput))
    json.member("audio_output_usd_per_m", billionths: nanos(rates.audioOutput))
    json.member("image_input_usd_per_m", billionths: nanos(rates.imageInput))
    json.member("image_output_usd_per_m", billionths: nanos(rates.imageOutput))
  }

  private static func nanos(_ rate: PriceRate?) -> Int64? { rate.map { $0.saturatingMultiplied(by: 1000) } }
}

extension ModelPrice {
  /// True where the list prices this tier by itself; flex costs what batch does where only that is named.
  func names(_ tier: PriceTier) -> Bool {
    switch tier {
    case .standard: false
    case .batch: batch != nil
    case .flex: flex != nil || batch != nil
    case .priority: priority != nil
    }
  }
}
