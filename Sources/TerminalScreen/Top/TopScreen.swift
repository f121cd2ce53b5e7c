// `tollgate top` without the terminal and without the broker: what keys do, what is shown, and what to ask next.
//
// Promises: the same keys and answers give the same pictures; every key is answered at once; the selection stays with its row
// while the list moves.
import TextForms

public struct TopScreen {
  /// What the program around it must do.
  public enum Wish: Equatable, Sendable {
    case quit
    /// Ctrl-Z.
    case suspend
    /// Ctrl-L: the terminal shows something else than what was written.
    case repaint
    /// Something new is wanted from the broker.
    case ask
  }

  enum Overlay: Equatable {
    case help
    case story(String)
    case prompt(String)
  }

  public var picture = TopPicture()
  /// Why the picture is old, since when (nanoseconds since 1970); nil while it is fresh.
  public private(set) var trouble: (text: String, since: Int64)?
  public private(set) var isPaused = false
  var tab = TopTab.requests
  var states = TopStates.alive
  public private(set) var filter = TopFilter()
  var overlay: Overlay?
  /// The row of each list that is selected, by its id.
  private var selections: [TopTab: String] = [:]
  private var orders: [TopTab: Int] = [:]
  private var reversed: Set<TopTab> = []
  /// The first line of the story or of the help that is shown.
  var scroll = 0
  /// The answer to the last question was that there is no such thing.
  var note: String?
  /// How many rows the list had when it was drawn last.
  var pageRows = 10
  private var turn = 0
  /// False once the broker has refused the names of the filter as parameters.
  private var takesNames = true
  private var takesSessions = true

  public init() {}

  var order: String { tab.orders[orders[tab, default: 0] % tab.orders.count] }
  var isReversed: Bool { reversed.contains(tab) }

  /// The rows of the list that is shown.
  func list(_ page: ReportPage) -> TopList {
    var list = TopList(tab, picture, states, page)
    list.arrange(filter: filter, order: order, isReversed: isReversed)
    return list
  }

  /// Where the selected row is now; the first one where it has gone.
  func selection(in list: TopList) -> Int? {
    guard !list.rows.isEmpty else { return nil }
    return selections[tab].flatMap { id in list.rows.firstIndex { $0.id == id } } ?? 0
  }

  // MARK: The broker

  /// A snapshot has come.
  public mutating func show(_ status: StatusReport) {
    trouble = nil
    if !isPaused { picture.status = status }
  }

  /// An answer could not be had; the picture stays, and is marked.
  public mutating func tell(trouble text: String, now: Int64) {
    trouble = (PrintableText.escaped(text, keepsLines: true), trouble?.since ?? now)
  }

  public mutating func show(_ entries: [RequestReport.Entry], state: String) {
    if !isPaused { picture.setRequests(entries, state: state) }
  }

  public mutating func show(_ sessions: SessionReport) { if !isPaused { picture.sessions = sessions } }

  /// Takes the story unless another one, or none, is looked at by now.
  public mutating func show(story text: String, of id: String) {
    if overlay == .story(id) { picture.story = (id, text) }
  }

  /// The broker has refused a question: an older one does not know it.
  public mutating func refused(_ question: TopQuestion, _ reason: String) {
    switch question {
    case .requests(_, let names):
      if names.isEmpty { note = PrintableText.escaped(reason) } else { takesNames = false }
    case .sessions:
      takesSessions = false
      note = "this broker does not list sessions"
    case .story(let id): show(story: reason, of: id)
    }
  }

  /// The question whose answer is looked at; nil where none is needed.
  public mutating func nextQuestion() -> TopQuestion? {
    if isPaused { return nil }
    defer { turn = (turn + 1) % 1000 }
    if case .story(let id) = overlay { return .story(id) }
    switch tab {
    case .requests:
      var names: [TopFilter.Field: String] = [:]
      if takesNames { for field in TopFilter.Field.allCases { names[field] = filter.exact(field) } }
      // One state at a time, in turn.
      return .requests(state: states.names[turn % states.names.count], names)
    case .sessions: return takesSessions ? .sessions(tenant: filter.exact(.tenant)) : nil
    case .tenants, .budgets, .keys, .limits: return nil
    }
  }

  // MARK: Keys

  public mutating func press(_ key: Key, _ page: ReportPage) -> Wish? {
    switch key {
    case .control("c"): return .quit
    case .control("z"): return .suspend
    case .control("l"): return .repaint
    default: break
    }
    note = nil
    switch overlay {
    case .prompt(let text): return edit(text, key)
    case .help, .story: return read(key)
    case nil: return choose(key, page)
    }
  }

  private mutating func edit(_ text: String, _ key: Key) -> Wish? {
    switch key {
    case .enter:
      overlay = nil
      return narrow(to: TopFilter(text))
    case .escape: overlay = nil
    case .backspace: overlay = .prompt(String(text.dropLast()))
    case .control("u"): overlay = .prompt("")
    case .character(let character) where text.count < 200: overlay = .prompt(text + String(character))
    default: break
    }
    return nil
  }

  private mutating func read(_ key: Key) -> Wish? {
    switch key {
    case .character("q"): return .quit
    case .escape, .enter, .backspace, .left, .character("h"), .character("?"):
      overlay = nil
      picture.story = nil
      return .ask
    case .up, .character("k"): scroll -= 1
    case .down, .character("j"): scroll += 1
    case .pageUp: scroll -= max(1, pageRows - 1)
    case .pageDown, .character(" "): scroll += max(1, pageRows - 1)
    case .home: scroll = 0
    case .end: scroll = .max / 2
    case .character("p"): return pause()
    default: break
    }
    scroll = max(0, scroll)
    return nil
  }

  private mutating func choose(_ key: Key, _ page: ReportPage) -> Wish? {
    switch key {
    case .character("q"): return .quit
    case .character("?"), .character("h"): open(.help)
    case .character("p"), .character(" "): return pause()
    case .tab, .right: return turn(to: (tab.rawValue + 1) % TopTab.allCases.count)
    case .backTab, .left: return turn(to: (tab.rawValue + TopTab.allCases.count - 1) % TopTab.allCases.count)
    case .character(let digit) where digit.isASCII && digit.wholeNumberValue != nil:
      return turn(to: (digit.wholeNumberValue ?? 1) - 1)
    case .up, .character("k"): move(-1, page)
    case .down, .character("j"): move(1, page)
    case .pageUp: move(-max(1, pageRows - 1), page)
    case .pageDown: move(max(1, pageRows - 1), page)
    case .home: move(.min / 2, page)
    case .end: move(.max / 2, page)
    case .character("s"): orders[tab, default: 0] += 1
    case .character("S"): orders[tab, default: 0] += tab.orders.count - 1
    case .character("r"): if reversed.remove(tab) == nil { reversed.insert(tab) }
    case .character("w"):
      guard let at = TopStates.allCases.firstIndex(of: states) else { return nil }
      states = TopStates.allCases[(at + 1) % TopStates.allCases.count]
      tab = .requests
      return .ask
    case .character("/"): overlay = .prompt(filter.text)
    case .character("x"), .escape: return narrow(to: TopFilter())
    case .character("c"):
      let classes: [String?] = [nil, "high", "normal", "low"]
      let at = classes.firstIndex(of: filter.exact(.priority)) ?? 0
      return narrow(.priority, to: classes[(at + 1) % classes.count])
    case .character("t"): return narrow(.tenant, page)
    case .character("v"): return narrow(.provider, page)
    case .character("e"): return narrow(.session, page)
    case .enter: return enter(page)
    default: break
    }
    return nil
  }

  private mutating func pause() -> Wish? {
    isPaused.toggle()
    return isPaused ? nil : .ask
  }

  private mutating func open(_ overlay: Overlay) {
    self.overlay = overlay
    scroll = 0
  }

  private mutating func turn(to number: Int) -> Wish? {
    guard let tab = TopTab(rawValue: number), tab != self.tab else { return nil }
    self.tab = tab
    return .ask
  }

  private mutating func move(_ rows: Int, _ page: ReportPage) {
    let list = list(page)
    guard let at = selection(in: list) else { return }
    selections[tab] = list.rows[min(max(0, at + rows), list.rows.count - 1)].id
  }

  private func selected(_ page: ReportPage) -> TopRow? {
    let list = list(page)
    return selection(in: list).map { list.rows[$0] }
  }

  /// Narrows to the selected row's name in a field; takes that away where it is narrowed to it.
  private mutating func narrow(_ field: TopFilter.Field, _ page: ReportPage) -> Wish? {
    if filter.exact(field) != nil { return narrow(field, to: nil) }
    guard let name = selected(page)?.fields[field], !name.isEmpty else {
      note = "the selected row has no \(field.rawValue)"
      return nil
    }
    return narrow(field, to: name)
  }

  private mutating func narrow(_ field: TopFilter.Field, to name: String?) -> Wish? {
    var changed = filter
    changed.set(field, to: name)
    return narrow(to: changed)
  }

  private mutating func narrow(to changed: TopFilter) -> Wish? {
    guard changed != filter else { return nil }
    filter = changed
    return .ask
  }

  private mutating func enter(_ page: ReportPage) -> Wish? {
    guard let row = selected(page) else { return nil }
    switch tab {
    case .requests:
      picture.story = nil
      open(.story(row.id))
      return .ask
    case .sessions, .tenants, .keys, .limits:
      // Its requests, and nothing narrower.
      filter = TopFilter()
      for field in [TopFilter.Field.tenant, .session, .provider] { filter.set(field, to: row.fields[field]) }
      tab = .requests
      states = .alive
      return .ask
    case .budgets: return nil
    }
  }
}
