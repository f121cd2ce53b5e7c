// Pruning removes what is old and keeps what budgets need; a backup is whole and never replaces a file unasked.
import AdmissionCore
import Foundation
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct LedgerCareTests {
  private let place = Place()
  private let always = [WallInstant(nanoseconds: 0)]

  @Test func pruneRemovesTheOldAndKeepsTheirSums() throws {
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    // More than one step's worth of old calls, and a young one.
    var entries: [LedgerEntry] = []
    for number in 1...2500 { entries += Scene.call(number, at: Double(number) / 100, cost: 2) }
    entries += Scene.call(9_000, at: 1_000, cost: 7)
    entries += [Scene.held(9_001, at: 5)]
    #expect(watcher.reached(store.append(contentsOf: entries)))
    let before = try store.spending(since: always, now: Scene.at(10_000)).reduce(0) { $0 + $1.spent[0].nanodollars }
    #expect(before == 5_007)
    let removed = try LedgerCare.prune(place.path(), before: Scene.at(900))
    #expect(removed == (2500, 2500))
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM attempts WHERE state = 1", as: Int.self) == [1])
    #expect(
      try store.spending(since: always, now: Scene.at(10_000)).reduce(0) { $0 + $1.spent[0].nanodollars } == before)
    // A window that began meanwhile finds what was pruned of it, by whole hours.
    #expect(
      try store.spending(since: [Scene.at(20)], now: Scene.at(10_000)).map { $0.spent[0].nanodollars } == [before])
    #expect(try store.spending(since: [Scene.at(5_000)], now: Scene.at(10_000)).isEmpty)
    // Again: nothing is left to remove, and nothing is counted twice.
    #expect(try LedgerCare.prune(place.path(), before: Scene.at(900)) == (0, 0))
    #expect(
      try store.spending(since: always, now: Scene.at(10_000)).reduce(0) { $0 + $1.spent[0].nanodollars } == before)
    // The writer goes on, and what was open has its end.
    #expect(
      watcher.reached(store.append(contentsOf: [Scene.settled(9_001, at: 5, cost: 1), Scene.concluded(9_001, at: 5)])))
    #expect(
      try store.spending(since: always, now: Scene.at(10_000)).reduce(0) { $0 + $1.spent[0].nanodollars } == before + 1)
  }

  @Test func aWindowAndASessionFindWhatWasPrunedOfThem() throws {
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    let day = 86_400.0
    var entries: [LedgerEntry] = []
    for (number, session) in ["s1", "s1", "s2"].enumerated() {
      let at = Double(number) * day
      entries += [
        Scene.held(number + 1, at: at, session: SessionID(session)), Scene.settled(number + 1, at: at, cost: 10),
        Scene.concluded(number + 1, at: at, session: SessionID(session)),
      ]
    }
    #expect(watcher.reached(store.append(contentsOf: entries)))
    func spent(since days: Double) throws -> [String: Int64] {
      let callers = try store.spending(since: [Scene.at(days * day)], now: Scene.at(10 * day))
      return Dictionary(callers.map { ($0.session?.name ?? "-", $0.spent[0].nanodollars) }, uniquingKeysWith: +)
    }
    let expected: [(Double, [String: Int64])] = [
      (-1, ["s1": 20, "s2": 10]), (0.5, ["s1": 10, "s2": 10]), (1.5, ["s2": 10]),
    ]
    for (since, sums) in expected { #expect(try spent(since: since) == sums) }
    _ = try LedgerCare.prune(place.path(), before: Scene.at(5 * day))
    for (since, sums) in expected { #expect(try spent(since: since) == sums) }
    // Years later the days are no window's any more; the sums without an end keep them.
    _ = try LedgerCare.prune(place.path(), before: Scene.at(400 * day))
    #expect(try spent(since: 0.5).isEmpty)
    let always = try store.spending(since: [WallInstant(nanoseconds: 0)], now: Scene.at(500 * day))
    #expect(always.reduce(0) { $0 + $1.spent[0].nanodollars } == 30)
  }

  @Test func anOpenHoldIsNeverPruned() throws {
    let watcher = Watcher()
    var options = LedgerOptions()
    options.listTime = .zero
    options.housekeepingInterval = .zero
    let store = try Scene.store(place.path(), watcher, options: options)
    #expect(watcher.reached(store.append(Scene.held(1))))
    // The next transaction gives it its row.
    #expect(watcher.reached(store.append(contentsOf: Scene.call(2))))
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM attempts WHERE state = 0", as: Int.self) == [1])
    _ = try LedgerCare.prune(place.path(), before: Scene.at(900))
    #expect(try Scene.query(place.path(), "SELECT state FROM attempts", as: Int.self) == [0])
    #expect(watcher.reached(store.append(Scene.settled(1))))
    #expect(try Scene.query(place.path(), "SELECT state FROM attempts", as: Int.self) == [1])
  }

  @Test func aBackupIsWholeWhileTheBrokerWrites() throws {
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    #expect(watcher.reached(store.append(contentsOf: Scene.call(1))))
    try LedgerCare.backup(place.path(), to: place.path("copy.db"), replaces: false)
    #expect(try Scene.query(place.path("copy.db"), "SELECT count(*) FROM requests", as: Int.self) == [1])
    #expect(!FileManager.default.fileExists(atPath: place.path("copy.db-wal")))
    let error = #expect(throws: LedgerError.self) {
      try LedgerCare.backup(place.path(), to: place.path("copy.db"), replaces: false)
    }
    #expect(error?.description.contains("the file exists; give another name, or --force") == true)
    #expect(watcher.reached(store.append(contentsOf: Scene.call(2))))
    try LedgerCare.backup(place.path(), to: place.path("copy.db"), replaces: true)
    #expect(try Scene.query(place.path("copy.db"), "SELECT count(*) FROM requests", as: Int.self) == [2])
    #expect(throws: LedgerError.self) { try LedgerCare.backup(place.path(), to: place.path(), replaces: true) }
    #expect(throws: LedgerError.self) {
      try LedgerCare.backup(place.path("none.db"), to: place.path("other.db"), replaces: false)
    }
    #expect(!FileManager.default.fileExists(atPath: place.path("other.db")))
    let nowhere = #expect(throws: LedgerError.self) {
      try LedgerCare.backup(place.path(), to: place.path("none/copy.db"), replaces: false)
    }
    #expect(nowhere?.description.hasPrefix("backup \(place.path("none/copy.db")): the directory") == true)
    #expect(nowhere?.description.hasSuffix("or give another path for the copy") == true)
    // A copy is a ledger that a broker can start with.
    let again = try Scene.store(place.path("copy.db"), Watcher())
    #expect(try again.spending(since: always, now: Scene.at(10_000)).map { $0.spent[0].nanodollars } == [8000])
  }

  @Test func aCopyTakesNobodysPlace() throws {
    let files = FileManager.default
    let store = try Scene.store(place.path(), Watcher())
    store.append(contentsOf: Scene.call(1))
    #expect(store.settle())
    try files.createSymbolicLink(atPath: place.path("link.db"), withDestinationPath: place.path())
    let folder = URL(fileURLWithPath: place.path()).deletingLastPathComponent().path
    try files.createSymbolicLink(atPath: place.path("folder"), withDestinationPath: folder)
    let through = place.path("folder") + "/" + URL(fileURLWithPath: place.path()).lastPathComponent
    try files.linkItem(atPath: place.path(), toPath: place.path("hard.db"))
    func refusal(_ file: String, of path: String? = nil) -> String {
      let error = #expect(throws: LedgerError.self) {
        try LedgerCare.backup(path ?? place.path(), to: file, replaces: true)
      }
      return error?.description ?? ""
    }
    for file in [place.path(), place.path("link.db"), place.path("hard.db"), through] {
      #expect(refusal(file).contains("this is the ledger itself"))
    }
    #expect(refusal(place.path(), of: place.path("link.db")).contains("this is the ledger itself"))
    for suffix in ["-wal", "-shm", ".lock", ".ahead-0", ".ahead-1"] {
      #expect(refusal(place.path() + suffix).contains("needs this file"))
      #expect(refusal(through + suffix).contains("needs this file"))
    }
    #expect(refusal("").contains("the name is empty"))
    #expect(refusal("/dev/null").contains("this is no ordinary file"))
    #expect(refusal(folder).contains("this is a directory"))

    // A ledger that a broker uses, and one whose broker was killed.
    let other = try Scene.store(place.path("other.db"), Watcher())
    other.append(contentsOf: Scene.call(1))
    #expect(other.settle())
    #expect(refusal(place.path("other.db")).contains("other.db-wal holds entries"))
    other.close()
    try LedgerCare.backup(place.path(), to: place.path("other.db"), replaces: true)
    try Data("kept".utf8).write(to: URL(fileURLWithPath: place.path("third.db.unfinished")))
    try LedgerCare.backup(place.path(), to: place.path("third.db"), replaces: false)
    #expect(files.contents(atPath: place.path("third.db.unfinished")) == Data("kept".utf8))
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM requests", as: Int.self) == [1])
  }

  @Test func aPipeOrDirectoryIsNoLedger() throws {
    #expect(mkfifo(place.path("pipe"), 0o600) == 0)
    for path in [place.path("pipe"), "/dev/null", URL(fileURLWithPath: place.path()).deletingLastPathComponent().path] {
      let error = #expect(throws: LedgerError.self) { try LedgerCare.prune(path, before: Scene.start) }
      #expect(error?.description.contains("this is ") == true)
      #expect(throws: LedgerError.self) { try LedgerCare.backup(path, to: place.path("x.db"), replaces: false) }
      #expect(throws: LedgerError.self) { try Scene.store(path, Watcher()) }
    }
  }

  @Test func careIsOnlyForLedgers() throws {
    try Data("hello".utf8).write(to: URL(fileURLWithPath: place.path("text")))
    #expect(throws: LedgerError.self) { try LedgerCare.prune(place.path("text"), before: Scene.start) }
    #expect(throws: LedgerError.self) { try LedgerCare.prune(place.path("none"), before: Scene.start) }
    #expect(!FileManager.default.fileExists(atPath: place.path("none")))
  }
}
