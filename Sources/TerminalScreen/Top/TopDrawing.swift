// The picture of `tollgate top`: how the broker is on top, one of the lists below it.
//
// Promises: every row of the screen is filled or left empty on purpose; what has no room is left out from the middle, never the
// first line with the time and the last one with the keys.
import TextForms

extension TopScreen {
  /// The smallest terminal with room for it.
  public static let leastColumns = 40
  public static let leastRows = 10

  private static let help = [
    "up, down, j, k      the row above, below; PgUp, PgDn, Home, End",
    "Tab, 1 to 6         another list: requests, sessions, tenants, budgets, keys, limits",
    "Enter               the story of the selected request; the requests of a session, tenant or key",
    "s, S, r             sort by the next, by the one before, the other way round",
    "w                   requests that run and wait, that run, that wait, that have ended",
    "/                   filter: words that a row must have, or class:high tenant:acme provider:x session:y",
    "c                   only high, only normal, only low, all classes",
    "t, v, e             only the selected row's tenant, provider, session; again for all",
    "x, Esc              no filter",
    "p, Space            pause: the picture stays while you read; again to go on",
    "Ctrl-L              draw everything again",
    "Ctrl-Z              stop; fg goes on",
    "q, Ctrl-C           quit",
  ]

  /// Draws it. Remembers how many rows a page has.
  public mutating func draw(columns: Int, rows: Int, _ page: ReportPage) -> ScreenBuffer {
    var screen = ScreenBuffer(columns: columns, rows: rows)
    guard columns >= TopScreen.leastColumns, rows >= TopScreen.leastRows else {
      let text =
        "This terminal is \(columns)x\(rows). tollgate top needs \(TopScreen.leastColumns)x\(TopScreen.leastRows): "
        + "make it larger, or press q."
      for (row, line) in CellText.wrapped(text, to: columns).enumerated() { screen.put(line, row: row, column: 0) }
      return screen
    }
    var page = page
    page.width = columns
    title(&screen, page)
    var row = 1
    if let trouble {
      let text =
        "\(Self.clause(trouble.text)); asking again, the picture is of \(page.clock.text(trouble.since))"
      for line in CellText.wrapped(text, to: columns).prefix(2) {
        row += screen.line(line, row: row, ScreenStyle(.red, bold: true))
      }
    }
    switch overlay {
    case .help: lines(&screen, TopScreen.help, from: row, title: "Keys of tollgate top", page)
    case .story(let id):
      let told = picture.story.flatMap { $0.id == id ? $0.text : nil } ?? "asking for \(id) ..."
      lines(
        &screen, told.split(separator: "\n", omittingEmptySubsequences: false).map(String.init), from: row,
        title: "Request \(id)", page)
    case nil, .prompt:
      row = overview(&screen, from: row, page)
      listing(&screen, from: row, page)
    }
    footer(&screen)
    return screen
  }

  // MARK: First and last line

  /// The first line of a text, as part of a sentence that goes on.
  private static func clause(_ text: String) -> Substring {
    let line = text.split(separator: "\n").first ?? ""
    return line.hasSuffix(".") ? line.dropLast() : line
  }

  private func title(_ screen: inout ScreenBuffer, _ page: ReportPage) {
    let time = page.clock.text(page.clock.now)
    var text = " tollgate"
    if let status = picture.status {
      text += " \(status.version)"
      if let up = page.clock.past(since: status.startedAt) { text += ", up \(up)" }
      if status.draining { text += ", DRAINING" }
    }
    let mark = trouble != nil ? "STALE " : isPaused ? "PAUSED " : ""
    screen.put(text, row: 0, column: 0, width: screen.columns - time.count - mark.count - 2)
    screen.put(mark + time, row: 0, column: screen.columns - time.count - mark.count - 1)
    screen.paint(
      row: 0, style: ScreenStyle(trouble != nil ? .red : isPaused ? .yellow : nil, bold: true, reversed: true))
  }

  private func footer(_ screen: inout ScreenBuffer) {
    let row = screen.rows - 1
    if case .prompt(let text) = overlay {
      let column = screen.put("filter: ", row: row, column: 0, style: .heading)
      // The end of what is typed is what one looks at.
      let room = screen.columns - column - 1
      var shown = text
      while CellText.width(shown) > room { shown.removeFirst() }
      let end = screen.put(shown, row: row, column: column)
      screen.put(" ", row: row, column: end, style: ScreenStyle(reversed: true))
      return
    }
    if let note {
      screen.put(note, row: row, column: 0, style: .warning)
      return
    }
    let text =
      overlay == nil
      ? "q quit  ? help  Enter story  Tab list  / filter  s sort  w which  p pause"
      : "Esc back  up, down scroll  q quit"
    screen.put(text, row: row, column: 0, style: .quiet)
  }

  /// Text with a title, scrolled.
  private mutating func lines(
    _ screen: inout ScreenBuffer, _ text: [String], from row: Int, title: String, _ page: ReportPage
  ) {
    screen.put(title, row: row, column: 0, style: .heading)
    let wrapped = text.flatMap { line -> [String] in
      let indent = String(repeating: " ", count: line.prefix { $0 == " " }.count + 2)
      return CellText.wrapped(line, to: screen.columns, indent: indent)
    }
    let room = max(1, screen.rows - row - 2)
    pageRows = room
    scroll = min(scroll, max(0, wrapped.count - room))
    for (offset, line) in wrapped.dropFirst(scroll).prefix(room).enumerated() {
      screen.put(line, row: row + 1 + offset, column: 0)
    }
  }

  // MARK: How the broker is

  /// - Returns: the first free row.
  private func overview(_ screen: inout ScreenBuffer, from start: Int, _ page: ReportPage) -> Int {
    var row = start
    guard let status = picture.status else { return row + screen.line("asking the broker ...", row: row, .quiet) }
    let isTall = screen.rows >= 32
    // The list has at least four rows and its two headings.
    let end = screen.rows - 7
    let headline = status.headline.map { $0.isEmpty ? [] : CellText.wrapped($0, to: screen.columns) } ?? []
    let mostLines = isTall ? 4 : 2
    for (index, line) in headline.prefix(mostLines).enumerated() where row < end {
      // The last line tells that there is more.
      let text = index == mostLines - 1 ? headline[index...].joined(separator: " ") : line
      row += screen.line(text, row: row, ScreenStyle(bold: true))
    }
    var counts = ""
    if let running = status.running, let queued = status.queued {
      counts =
        "running \(running), waiting \(queued.all) (\(queued.high) high, \(queued.normal) normal, \(queued.low) low)"
        + StatusText.arriving(status)
    }
    let totals = StatusText.totals(status, isShort: true)
    if CellText.width(counts) + 2 + CellText.width(totals) <= screen.columns {
      row += screen.line([counts, totals].filter { !$0.isEmpty }.joined(separator: "; "), row: row, .plain)
    } else {
      row += screen.line(counts, row: row, .plain)
      if row < end { row += screen.line(totals, row: row, .plain) }
    }
    let warnings = StatusText.worstFirst(
      StatusText.troubles(status) + StatusText.advice(status.allProviders, page))
    let most = isTall ? 5 : 2
    for (index, warning) in warnings.enumerated() where index < most && row < end {
      let more = index == most - 1 && warnings.count > most ? "(\(warnings.count - most) more) " : ""
      // What to do stands at the end, so that nothing of it is cut where there is room.
      for line in CellText.wrapped(more + warning.text, to: screen.columns, indent: "  ").prefix(isTall ? 3 : 2)
      where row < end { row += screen.line(line, row: row, warning.style) }
    }
    if isTall { row += 1 }
    if let classes = status.classes, row + 4 <= end {
      row += screen.table(StatusText.classTable(classes).lines(width: screen.columns), row: row)
      if isTall { row += 1 }
    }
    let room = min(isTall ? 12 : 4, end - row - 1)
    if room > 0 { row += providers(&screen, status.allProviders, from: row, room: room, page) }
    guard isTall else { return row }
    // The budgets that are nearest to their end have a list of their own too.
    if tab != .budgets, row + 6 <= end {
      var budgets = TopList(.budgets, picture, states, page)
      budgets.arrange(filter: TopFilter(), order: "used", isReversed: false)
      if !budgets.rows.isEmpty {
        let table = budgets.table(budgets.rows.prefix(4))
        row += 1 + screen.table(table.lines(width: screen.columns), row: row + 1) { budgets.rows[$0].style }
      }
    }
    return row + 1
  }

  private func providers(
    _ screen: inout ScreenBuffer, _ all: [StatusReport.Provider], from row: Int, room: Int, _ page: ReportPage
  ) -> Int {
    guard !all.isEmpty else { return 0 }
    var table = TextTable(
      ["PROVIDER", "PLACES", "WAITING", "LIMITS USED", "BREAKER", "KEYS"], right: [2], whole: [4, 5],
      spare: ["LIMITS USED", "KEYS"])
    // Those that are in trouble first, then the busiest.
    let ranked = all.enumerated().sorted { left, right in
      let (a, b) = (TopScreen.urgency(left.element), TopScreen.urgency(right.element))
      return a == b ? left.offset < right.offset : a > b
    }.map(\.element)
    let shown = all.count > room ? Array(ranked.prefix(room - 1)) : all
    for provider in shown {
      let keys = provider.keys ?? []
      let usable = keys.count { $0.state == "usable" }
      let limits = (provider.buckets ?? []).map { ($0.dimension, TopList.percentUsed($0)) }
        .sorted { $0.1 > $1.1 }.prefix(3).map { "\($0.0.replacing("_tokens", with: "")) \($0.1)%" }
      table.row([
        provider.id, StatusText.places(provider), "\(provider.queued.all)",
        limits.isEmpty ? "-" : limits.joined(separator: ", "), TopScreen.standing(provider, page),
        keys.isEmpty ? "-" : usable == keys.count ? "\(usable)" : "\(usable) of \(keys.count)",
      ])
    }
    var used = screen.table(table.lines(width: screen.columns), row: row) { index in
      let provider = shown[index]
      if provider.breaker.state == "open" { return .bad }
      return TopScreen.urgency(provider) >= 1 << 40 ? .warning : .plain
    }
    if shown.count < all.count {
      used += screen.line("and \(all.count - shown.count) more providers", row: row + used, .quiet)
    }
    return used
  }

  private static func urgency(_ provider: StatusReport.Provider) -> Int {
    let isTroubled =
      provider.breaker.state != "closed" || provider.state != "usable"
      || (provider.keys ?? []).contains { $0.state != "usable" }
    return (isTroubled ? 1 << 40 : 0) + provider.queued.all * 1000 + provider.inFlight
  }

  private static func standing(_ provider: StatusReport.Provider, _ page: ReportPage) -> String {
    let left = { (until: String?) in until.flatMap { page.clock.left(until: $0) }.map { " \($0)" } ?? "" }
    if provider.breaker.state != "closed" { return provider.breaker.state + left(provider.breaker.until) }
    return provider.state == "cooling" ? "paused" + left(provider.until) : provider.breaker.state
  }

  // MARK: The list

  private mutating func listing(_ screen: inout ScreenBuffer, from start: Int, _ page: ReportPage) {
    var column = 0
    let names = TopTab.allCases.map { "\($0.rawValue + 1) \($0.title)" }
    // Where not all have room, the open one keeps its name, and the others' are cut.
    let spaces = 2 * (names.count - 1)
    let others = screen.columns - spaces - names[tab.rawValue].count
    let fits = names.reduce(spaces) { $0 + $1.count } <= screen.columns
    for (one, name) in zip(TopTab.allCases, names) {
      let text = fits || one == tab ? name : CellText.cut(name, to: max(1, others / (names.count - 1)))
      column = screen.put(
        text, row: start, column: column, style: one == tab ? ScreenStyle(bold: true, reversed: true) : .quiet)
      column += 2
    }
    let list = list(page)
    var about = "by \(order)\(isReversed ? ", reversed" : "")"
    if tab == .requests { about = "\(states.title) \(about)" }
    about = "\(list.rows.count) \(about)"
    if !filter.isEmpty { about += ", only \(filter.text)" }
    var row = start
    // Beside the lists' names where there is room, else below them.
    if column + CellText.width(about) <= screen.columns {
      screen.put(about, row: row, column: column)
    } else {
      row += 1
      screen.put(about, row: row, column: 0)
    }
    row += 1
    let table = list.table(list.rows)
    let room = max(1, screen.rows - 1 - row - 1)
    pageRows = room
    guard let at = selection(in: list) else {
      screen.put(filter.isEmpty ? "none" : "none that the filter admits", row: row, column: 0, style: .quiet)
      return
    }
    // The selected row stays in sight, in the middle where there are rows on both sides.
    let first = min(max(0, at - room / 2), max(0, list.rows.count - room))
    let lines = table.lines(width: screen.columns)
    screen.put(lines[0], row: row, column: 0, style: .heading)
    for index in first..<min(first + room, list.rows.count) {
      let target = row + 1 + index - first
      screen.put(lines[index + 1], row: target, column: 0, style: list.rows[index].style)
      if index == at { screen.paint(row: target, style: ScreenStyle(reversed: true)) }
    }
  }
}

extension ScreenBuffer {
  /// - Returns: 1, or 0 for a text without anything in it.
  fileprivate mutating func line(_ text: String, row: Int, _ style: ScreenStyle) -> Int {
    guard !text.isEmpty else { return 0 }
    put(text, row: row, column: 0, style: style)
    return 1
  }

  /// The heading, and the rows in their looks.
  /// - Returns: the number of lines.
  fileprivate mutating func table(_ lines: [String], row: Int, style: (Int) -> ScreenStyle = { _ in .plain }) -> Int {
    for (index, line) in lines.enumerated() {
      put(line, row: row + index, column: 0, style: index == 0 ? .heading : style(index - 1))
    }
    return lines.count
  }
}
