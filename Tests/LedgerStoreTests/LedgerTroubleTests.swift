// Trouble at the start is refused with what to do; trouble while running keeps what was not written and writes it afterwards.
import AdmissionCore
import Foundation
import GRDB
import Testing

@testable import LedgerStore

@Suite struct LedgerTroubleTests {
  private let place = Place()

  private var hurried: LedgerOptions {
    var options = LedgerOptions()
    options.retryPause = .milliseconds(5)
    options.lockPatience = .milliseconds(20)
    options.closePatience = .milliseconds(50)
    return options
  }

  private func refusal(_ path: String) -> String {
    do {
      _ = try Scene.store(path, Watcher())
      return ""
    } catch { return "\(error)" }
  }

  // MARK: At the start

  @Test func aMissingDirectoryIsNamedWithItsMend() {
    let text = refusal(place.path("none/t.db"))
    #expect(text.contains("the directory \(place.directory)/none does not exist; make it ('mkdir -p"))
  }

  @Test func aDirectoryIsNoFile() throws {
    try FileManager.default.createDirectory(atPath: place.path("d"), withIntermediateDirectories: false)
    #expect(refusal(place.path("d")).contains("this is a directory"))
  }

  @Test func garbageIsNoDatabase() throws {
    try Data(repeating: 0x41, count: 8192).write(to: URL(fileURLWithPath: place.path()))
    #expect(refusal(place.path()).contains("this file is no SQLite database"))
  }

  @Test func aTruncatedLedgerIsDamaged() throws {
    let store = try Scene.store(place.path(), Watcher())
    for number in 1...2000 { store.append(contentsOf: Scene.call(number)) }
    store.close()
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: place.path()))
    try handle.truncate(atOffset: 20_480)
    try handle.close()
    #expect(refusal(place.path()).contains("damaged"))
  }

  @Test func somebodyElsesDatabaseIsLeftAlone() throws {
    let other = try DatabaseQueue(path: place.path())
    try other.write { try $0.execute(sql: "CREATE TABLE recipes (name TEXT)") }
    try other.close()
    #expect(refusal(place.path()).contains("the SQLite database of something else"))
    #expect(try Scene.query(place.path(), "SELECT name FROM sqlite_schema", as: String.self) == ["recipes"])
  }

  @Test func aNewerLedgerIsRefusedWithTheReason() throws {
    try Scene.store(place.path(), Watcher()).close()
    let database = try DatabaseQueue(path: place.path())
    try database.write {
      try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('keep the colour of calls')")
    }
    try database.close()
    let text = refusal(place.path())
    #expect(text.contains("a newer tollgate has written it (it knows of 'keep the colour of calls')"))
  }

  @Test func anEmptyFileBecomesALedger() throws {
    #expect(FileManager.default.createFile(atPath: place.path(), contents: nil))
    #expect(refusal(place.path()).isEmpty)
  }

  // MARK: While running

  @Test func aFullDiskKeepsEntriesUntilThereIsSpace() throws {
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher, options: hurried)
    // SQLite's own limit stands for the disk's: as many pages as there are.
    store.perform { try $0.execute(sql: "PRAGMA max_page_count = 1") }
    for number in 1...300 { store.append(contentsOf: Scene.call(number)) }
    #expect(watcher.waits { store.obstacle != nil })
    #expect(store.obstacle?.contains("no space left") == true)
    #expect(watcher.committed < 900)
    let last = store.append(contentsOf: Scene.call(301))
    #expect(store.pending >= 3)
    #expect(store.lag > .zero)
    store.perform { try $0.execute(sql: "PRAGMA max_page_count = 1000000") }
    #expect(watcher.reached(last))
    #expect(watcher.waits { store.obstacle == nil })
    #expect(watcher.obstacles.last == .some(nil))
    #expect(store.lost == 0)
    #expect(watcher.waits { store.lag == .zero })
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM attempts WHERE state = 1", as: Int.self) == [301])
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM requests", as: Int.self) == [301])
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM changes", as: Int.self) == [0])
  }

  @Test func aLockedFileIsWaitedForThenTold() throws {
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher, options: hurried)
    let other = try DatabaseQueue(path: place.path())
    try other.writeWithoutTransaction { db in
      try db.execute(sql: "BEGIN IMMEDIATE")
      store.append(contentsOf: Scene.call(1))
      #expect(watcher.waits { store.obstacle != nil })
      #expect(store.obstacle?.contains("another process holds its write lock") == true)
      #expect(watcher.committed == 0)
      try db.execute(sql: "ROLLBACK")
    }
    #expect(watcher.reached(3))
    #expect(watcher.waits { store.obstacle == nil })
  }

  @Test func aMomentsLockIsNoTrouble() throws {
    let watcher = Watcher()
    var options = hurried
    options.lockPatience = .seconds(60)
    let store = try Scene.store(place.path(), watcher, options: options)
    let other = try DatabaseQueue(path: place.path())
    try other.writeWithoutTransaction { db in
      try db.execute(sql: "BEGIN IMMEDIATE")
      store.append(contentsOf: Scene.call(1))
      #expect(watcher.committed == 0)
      try db.execute(sql: "COMMIT")
    }
    #expect(watcher.reached(3))
    #expect(watcher.obstacles.isEmpty)
  }

  @Test func aReplacedFileIsNoticedAndMadeAnew() throws {
    let watcher = Watcher()
    var options = hurried
    options.fileCheckInterval = .zero
    let store = try Scene.store(place.path(), watcher, options: options)
    let first = store.append(Scene.held(1))
    #expect(watcher.reached(first))
    for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: place.path() + suffix) }
    let last = store.append(contentsOf: [Scene.settled(1)] + Scene.call(2))
    #expect(watcher.reached(last))
    #expect(watcher.obstacles.first??.contains("moved or removed while in use") == true)
    #expect(watcher.waits { store.obstacle == nil })
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM requests", as: Int.self) == [1])
    // Its hold was in the old file: its end is told with what it cost.
    #expect(
      try Scene.query(place.path(), "SELECT state || amount FROM changes", as: String.self) == ["unmatched_end4000"])
  }

  @Test func memoryHasABoundAndWhatIsLostIsCounted() throws {
    let watcher = Watcher()
    var options = hurried
    options.memoryLimit = 10
    let store = try Scene.store(place.path(), watcher, options: options)
    let other = try DatabaseQueue(path: place.path())
    try other.writeWithoutTransaction { db in
      try db.execute(sql: "BEGIN IMMEDIATE")
      for number in 1...3 { store.append(contentsOf: Scene.call(number)) }
      #expect(store.lost == 0)
      store.append(Scene.held(4))
      #expect(store.lost == 0)
      #expect(store.append(contentsOf: [Scene.settled(4), Scene.concluded(4)]) == 12)
      #expect(store.lost == 2)
      #expect(watcher.waits { store.obstacle?.contains("2 entries found no place in memory and are lost") == true })
      try db.execute(sql: "ROLLBACK")
    }
    #expect(watcher.waits { store.pending == 0 && store.obstacle == nil })
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM requests", as: Int.self) == [3])
  }

  @Test func closeDuringTroubleTellsWhatIsLeft() throws {
    let store = try Scene.store(place.path(), Watcher(), options: hurried)
    let other = try DatabaseQueue(path: place.path())
    try other.writeWithoutTransaction { db in
      try db.execute(sql: "BEGIN IMMEDIATE")
      store.append(contentsOf: Scene.call(1))
      #expect(store.close() == 3)
      try db.execute(sql: "ROLLBACK")
    }
  }
}
