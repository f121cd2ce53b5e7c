// Writes metrics as text, family by family, in either format.
//
// Promises: the time is linear in the length of the page. Numbers are exact: whole ones and money have no rounding in
// them, and what cannot be a number is spelled as Prometheus reads it. A label's value can be any text.
//
// Hundreds of tenants with their budgets have thousands of samples: the labels of who has several are written once
// (`Owner`), and numbers without making text of them first.
import AdmissionCore
import BrokerEngine
import TextForms

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
  mutating func sample(_ values: [String], _ value: Int) { sample(values, Int64(value)) }
  mutating func sample(_ values: [String], _ value: Int64) { sample(values) { DecimalText.append(value, to: &$0) } }
  mutating func sample(_ values: [String], _ value: Double) { sample(values) { MetricsPage.append(value, to: &$0) } }
  mutating func sample(_ values: [String], seconds span: Span) {
    sample(values) { MetricsPage.append(billionths: span.nanoseconds, to: &$0) }
  }
  mutating func sample(_ values: [String], dollars amount: Money) {
    sample(values) { MetricsPage.append(billionths: amount.nanodollars, to: &$0) }
  }

  private mutating func sample(_ values: [String], _ number: (inout [UInt8]) -> Void) {
    write(name)
    write(values, bound: nil)
    end(number)
  }

  private mutating func end(_ number: (inout [UInt8]) -> Void) {
    bytes.append(UInt8(ascii: " "))
    number(&bytes)
    bytes.append(UInt8(ascii: "\n"))
  }

  /// The labels of somebody who has samples in several families.
  struct Owner {
    /// Without the closing brace.
    fileprivate var bytes: [UInt8] = []
    fileprivate var names: [String]
  }

  /// - Parameters:
  ///   - family: one of the families; the others begin with the same labels.
  ///   - values: of its first labels.
  static func owner(_ family: MetricFamily, _ values: [String]) -> Owner {
    var owner = Owner(names: Array(family.labels.prefix(values.count)))
    for (label, value) in zip(owner.names, values) { append(label, value, to: &owner.bytes) }
    return owner
  }

  /// - Parameter last: the value of the one label that the owner does not have; nil where it has all.
  mutating func sample(_ owner: Owner, _ last: String? = nil, _ value: Int64) {
    begin(owner, last)
    end { DecimalText.append(value, to: &$0) }
  }
  mutating func sample(_ owner: Owner, _ value: Int) { sample(owner, nil, Int64(value)) }
  mutating func sample(_ owner: Owner, _ last: String? = nil, billionths: Int64) {
    begin(owner, last)
    end { MetricsPage.append(billionths: billionths, to: &$0) }
  }
  mutating func sample(_ owner: Owner, _ last: String? = nil, number: Double) {
    begin(owner, last)
    end { MetricsPage.append(number, to: &$0) }
  }

  private mutating func begin(_ owner: Owner, _ last: String?) {
    assert(labels.count == owner.names.count + (last == nil ? 0 : 1), "\(name) has the labels \(labels)")
    assert(labels.starts(with: owner.names), "\(name) has the labels \(labels)")
    write(name)
    bytes.append(contentsOf: owner.bytes)
    if let last, let label = labels.last { MetricsPage.append(label, last, to: &bytes) }
    bytes.append(UInt8(ascii: "}"))
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
    var block: [UInt8] = []
    for (label, value) in zip(labels, values) { MetricsPage.append(label, value, to: &block) }
    if let bound { MetricsPage.append("le", bound, to: &block) }
    bytes.append(contentsOf: block)
    bytes.append(UInt8(ascii: "}"))
  }

  /// Appends a label to a block of labels, or begins one.
  private static func append(_ label: String, _ value: String, to bytes: inout [UInt8]) {
    // A block of its own, or the sample's line, of which the name comes first.
    bytes.append(bytes.last == UInt8(ascii: "\"") ? UInt8(ascii: ",") : UInt8(ascii: "{"))
    bytes.append(contentsOf: label.utf8)
    bytes.append(UInt8(ascii: "="))
    bytes.append(UInt8(ascii: "\""))
    escape(value, to: &bytes)
    bytes.append(UInt8(ascii: "\""))
  }

  private static func escape(_ value: String, to bytes: inout [UInt8]) {
    let isPlain = value.utf8.allSatisfy { $0 != UInt8(ascii: "\\") && $0 != UInt8(ascii: "\"") && $0 != 0x0A }
    if isPlain { return bytes.append(contentsOf: value.utf8) }
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

  private static func append(_ value: Double, to bytes: inout [UInt8]) {
    if value.magnitude < 1e9, value == value.rounded() { return DecimalText.append(Int64(value), to: &bytes) }
    bytes.append(contentsOf: number(value).utf8)
  }

  /// Appends a whole number of billionths in decimals, without zeros at the end.
  private static func append(billionths number: Int64, to bytes: inout [UInt8]) {
    guard number % 1_000_000_000 != 0 else { return DecimalText.append(number / 1_000_000_000, to: &bytes) }
    DecimalText.append(billionths: number, to: &bytes)
    while bytes.last == UInt8(ascii: "0") { bytes.removeLast() }
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
    var bytes: [UInt8] = []
    append(billionths: billionths, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// A bucket's bound in the form that OpenMetrics asks for, with a fraction, so that it is one series in both formats.
  private static func bound(_ value: Double) -> String { "\(value)" }
}
