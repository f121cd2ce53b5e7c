// What a broker wants to know again: the newest word of each name, bounded, also after a restart and from the journal.
import AdmissionCore
import LedgerVocabulary
import Testing

@testable import LedgerStore

@Suite struct MemoTableTests {
  private func memo(_ name: String, _ value: String, _ kind: LedgerMemo.Kind = .work) -> LedgerEntry {
    .remembered(LedgerMemo(kind: kind, name: name, value: value))
  }

  @Test func theNewestWordOfANameCounts() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    let last = store.append(contentsOf: [
      memo("a", "1"), memo("b", "2"), memo("a", "3"), memo("a", "of another kind", .learned),
    ])
    #expect(watcher.reached(last))
    #expect(try store.memos(.work).map(\.name) == ["b", "a"])
    #expect(try store.memos(.work).map(\.value) == ["2", "3"])
    #expect(try store.memos(.learned).map(\.value) == ["of another kind"])
    #expect(store.close() == 0)
    let next = try Scene.store(place.path(), Watcher())
    #expect(try next.memos(.work).map(\.value) == ["2", "3"])
    next.close()
  }

  @Test func theOldestGoFirst() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    let most = LedgerMemo.Kind.learned.most
    var last: UInt64 = 0
    for start in stride(from: 0, to: most + most / 4, by: 512) {
      last = store.append(contentsOf: (start..<start + 512).map { memo("\($0)", "x", .learned) })
    }
    #expect(watcher.reached(last))
    let kept = try store.memos(.learned)
    #expect(kept.count == most)
    #expect(kept.first?.name == "\(most / 4)")
    let rows = try store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM memos") ?? 0 }
    #expect(rows <= most + most / 8)
  }

  @Test func codingKeepsThem() {
    let entries = [
      memo("", ""), memo("resp_\u{e4}", "1 2 3"), memo("a", String(repeating: "x", count: 4096), .learned),
    ]
    #expect(EntryBatch(entries).readable() == entries)
  }
}
