// The map of requests: against a dictionary, with ids in a row, at random, and with the same low halves.
import Testing

@testable import AdmissionCore

@Suite struct RequestMapTests {
  @Test(arguments: ["in a row", "random", "alike"]) func agreesWithADictionary(_ kind: String) {
    var random = SeededRandom(seed: 5)
    var map = RequestMap<Int>()
    var model: [RequestID: Int] = [:]
    var ids: [RequestID] = []
    for step in 0..<6000 {
      // It grows to some hundreds, shrinks, and grows again.
      let isComing = random.upTo(9) < (step / 1500 % 2 == 0 ? 6 : 3)
      if isComing || ids.isEmpty {
        let number = UInt64(step)
        let id =
          switch kind {
          case "in a row": RequestID(high: 0, low: number)
          case "random": RequestID(high: number, low: UInt64(random.upTo(.max)))
          default: RequestID(high: number, low: number % 3)
          }
        map[id] = step
        model[id] = step
        ids.append(id)
      } else {
        let id = ids.remove(at: Int(random.upTo(Int64(ids.count - 1))))
        map[id] = nil
        model[id] = nil
        #expect(map[id] == nil)
      }
      #expect(map.count == model.count)
      if step % 100 == 0 { for (id, value) in model { #expect(map[id] == value) } }
    }
    for id in ids { map[id] = nil }
    #expect(map.count == 0 && ids.allSatisfy { map[$0] == nil })
  }

  @Test func aValueIsReplacedAndAnUnknownOneIsNotRemoved() {
    var map = RequestMap<Int>()
    let id = RequestID(high: 1, low: 2)
    map[id] = nil
    map[id] = 1
    map[id] = 2
    map[RequestID(high: 2, low: 2)] = nil
    #expect(map.count == 1 && map[id] == 2 && map[RequestID(high: 2, low: 2)] == nil)
  }
}
