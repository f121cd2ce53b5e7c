// For whom a report is written: the clock, the width of the terminal, and whether it shows colours.

public struct ReportPage {
  public var clock: LocalClock
  /// Cells of a line; nil where the reader is no terminal, and nothing is cut.
  public var width: Int?
  public var hasColours: Bool

  public init(clock: LocalClock, width: Int? = nil, colours: Bool = false) {
    self.clock = clock
    self.width = width
    hasColours = colours
  }

  func styled(_ text: String, _ style: ScreenStyle) -> String {
    hasColours ? style.sequence(colours: true) + text + ScreenStyle.plain.sequence(colours: true) : text
  }

  /// ` until 14:02:31`, or nothing.
  func until(_ time: String?) -> String { time.map { " until \(clock.text($0))" } ?? "" }
  func since(_ time: String?) -> String { time.map { " since \(clock.text($0))" } ?? "" }
  func time(_ time: String?) -> String { time.map { clock.text($0) } ?? "-" }
  func left(_ time: String?) -> String { time.flatMap { clock.left(until: $0) } ?? "-" }
}
