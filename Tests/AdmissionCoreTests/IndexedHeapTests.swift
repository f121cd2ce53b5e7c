// Against a sorted list, under random inserts, removals, re-keyings and renamings.
import Testing

@testable import AdmissionCore

@Suite struct IndexedHeapTests {
  @Test func agreesWithASortedList() {
    var random = SeededRandom(seed: 3)
    var heap = IndexedHeap<Lane>()
    var positions = IndexedHeap<Lane>.Positions()
    var model: [LaneIndex: Int64] = [:]
    for step in 0..<20_000 {
      let element = LaneIndex(number: Int(random.upTo(199)))
      let key = random.upTo(50)
      switch random.upTo(3) {
      case 0, 1:
        if model[element] == nil {
          heap.insert(element, key: key, stamp: UInt64(element.position), positions: &positions)
        } else {
          heap.update(element, key: key, stamp: UInt64(element.position), positions: &positions)
        }
        model[element] = key
      case 2:
        heap.remove(element, positions: &positions)
        model[element] = nil
      default:
        if let first = heap.first?.element, model[element] == nil {
          let key = model.removeValue(forKey: first)
          heap.remove(first, positions: &positions)
          heap.insert(first, key: key ?? 0, stamp: UInt64(element.position), positions: &positions)
          heap.rename(first, to: element, positions: &positions)
          model[element] = key
        }
      }
      let least = model.min { ($0.value, $0.key) < ($1.value, $1.key) }
      #expect(heap.first?.key == least?.value, "step \(step)")
      #expect(heap.count == model.count)
    }
  }
}
