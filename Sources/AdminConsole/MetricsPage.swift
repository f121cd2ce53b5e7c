// Writes metrics as text, family by family, in either format.
//
// Promises: the time is linear in the length of the page. Numbers are exact: whole ones and money have no rounding in
// them, and what cannot be a number is spelled as Prometheus reads it. A label's value can be any text.
import AdmissionCore
import BrokerEngine

/// A page of metrics that is being written.
struct MetricsPage {
  let format: MetricsFormat
  private(set) var bytes: [UInt8] = []
  /// Nanoseconds from the monotonic clock to 1970.
  private let wallOffset: Int64
  private var name = ""
  private var labels: [String] = []

  init(_ format: MetricsFormat, wallOffset: Int64 = 0) {
    self.format = format
    self.wallOffset = wallOffset
  }

  private var isOpenMetrics: Bool { format != .classic }

  /// Begins a family; its samples follow.
  mutating func begin(_ family: MetricFamily) {
    let title = isOpenMetrics ? family.base : family.name
    write("# HELP \(title) \(family.help)\n# TYPE \(title) \(family.kind.rawValue)\n")
    if isOpenMetrics, let unit = family.unit { write("# UNIT \(title) \(unit)\n") }
    (name, labels) = (family.name, family.labels)
  }

  /// A family without labels.
  mutating func only(_ family: MetricFamily, _ value: Double) {
    begin(family)
    sample([], value)
  }

  /// - Parameter values: of the family's labels, in their order.
  mutating func sample(_ values: [String], _ value: Int) { sample(values, text: String(value)) }
  mutating func sample(_ values: [String], _ value: Int64) { sample(values, text: String(value)) }
  mutating func sample(_ values: [String], _ value: Double) { sample(values, text: MetricsPage.number(value)) }
  mutating func sample(_ values: [String], seconds span: Span) {
    sample(values, text: MetricsPage.decimal(billionths: span.nanoseconds))
  }
  mutating func sample(_ values: [String], dollars amount: Money) {
    sample(values, text: MetricsPage.decimal(billionths: amount.nanodollars))
  }

  private mutating func sample(_ values: [String], text: String) {
    write(name)
    write(values, bound: nil)
    write(" ")
    write(text)
    write("\n")
  }

  /// - Parameter exemplars: by bucket; written in OpenMetrics only.
  mutating func histogram(_ values: [String], _ histogram: Histogram, exemplars: [Exemplar?] = []) {
    var total = 0
    for (index, count) in histogram.counts.enumerated() {
      total += count
      write(name)
      write("_bucket")
      write(values, bound: index < histogram.bounds.count ? MetricsPage.bound(histogram.bounds[index]) : "+Inf")
      write(" \(total)")
      if isOpenMetrics, index < exemplars.count, let example = exemplars[index] {
        let at = Int64(truncatingIfNeeded: example.at) &+ wallOffset
        write(
          " # {request_id=\"\(example.request.text)\"} \(MetricsPage.decimal(billionths: example.value.nanoseconds))")
        write(" \(MetricsPage.decimal(billionths: at))")
      }
      write("\n")
    }
    for (suffix, text) in [
      ("_sum", MetricsPage.decimal(billionths: histogram.sumNanoseconds)), ("_count", String(total)),
    ] {
      write(name)
      write(suffix)
      write(values, bound: nil)
      write(" \(text)\n")
    }
  }

  /// The whole page.
  consuming func finished() -> [UInt8] {
    if isOpenMetrics { write("# EOF\n") }
    return bytes
  }

  private mutating func write(_ text: String) { bytes.append(contentsOf: text.utf8) }

  private mutating func write(_ values: [String], bound: String?) {
    assert(values.count == labels.count, "\(name) has the labels \(labels)")
    guard !values.isEmpty || bound != nil else { return }
    var separator = "{"
    for (label, value) in zip(labels, values) {
      write(separator)
      write(label)
      write("=\"")
      escape(value)
      separator = "\","
    }
    if let bound {
      write(separator)
      write("le=\"")
      write(bound)
    }
    write("\"}")
  }

  private mutating func escape(_ value: String) {
    for byte in value.utf8 {
      switch byte {
      case UInt8(ascii: "\\"), UInt8(ascii: "\""):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0x0A:
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(UInt8(ascii: "n"))
      default: bytes.append(byte)
      }
    }
  }

  /// Whole numbers without a fraction, others with at most six decimals: what is not exact is a ratio, of which more
  /// digits would be noise.
  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    guard value.magnitude < 1e9 else {
      return value == value.rounded() && value.magnitude < 1e18 ? String(Int64(value)) : "\(value)"
    }
    let text = decimal(billionths: Int64((value * 1e6).rounded()) * 1000)
    // What is so small that six decimals say nothing of it.
    return text == "0" && value != 0 ? "\(value)" : text
  }

  /// A whole number of billionths in decimals, without zeros at the end.
  static func decimal(billionths: Int64) -> String {
    let (whole, rest) = billionths.magnitude.quotientAndRemainder(dividingBy: 1_000_000_000)
    let sign = billionths < 0 ? "-" : ""
    guard rest > 0 else { return "\(sign)\(whole)" }
    let digits = String(1_000_000_000 + rest).dropFirst()
    let end = digits.lastIndex { $0 != "0" } ?? digits.startIndex
    return "\(sign)\(whole).\(digits[...end])"
  }

  /// A bucket's bound in the form that OpenMetrics asks for, with a fraction, so that it is one series in both formats.
  private static func bound(_ value: Double) -> String { "\(value)" }
}
