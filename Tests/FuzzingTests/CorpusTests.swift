// Replays the committed corpora of scripts/fuzz through the same functions, and a few hundred changes of each file: bytes that the fuzzer
// once found wrong stay in the corpus and are tests from then on.
import Foundation
import Testing

@Suite struct CorpusTests {
  private static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Corpora")

  private static func files(_ target: FuzzTarget) throws -> [(name: String, bytes: [UInt8])] {
    let folder = folder.appending(path: target.rawValue)
    return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map { name in
      (name, Array(try Data(contentsOf: folder.appending(path: name))))
    }
  }

  @Test(arguments: FuzzTarget.allCases) func everyFileIsReadRight(target: FuzzTarget) throws {
    let files = try Self.files(target)
    #expect(files.count >= 5, "the corpus was not found, or is none")
    for file in files {
      let flaw = target.flaw(in: file.bytes)
      #expect(flaw == nil, "\(target.rawValue)/\(file.name): \(flaw ?? "")")
    }
  }

  /// Bytes changed, left out and doubled, by a seed: what a fuzzer would try first.
  @Test(arguments: FuzzTarget.allCases) func everyFileIsReadRightWhenItIsChanged(target: FuzzTarget) throws {
    for file in try Self.files(target) where file.bytes.count > 1 && file.bytes.count <= 4096 {
      var random = UInt64(file.bytes.count) &* 0x9E37_79B9_7F4A_7C15
      func draw(_ below: Int) -> Int {
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((random >> 33) % UInt64(below))
      }
      for round in 0..<20 {
        var bytes = file.bytes
        for _ in 0...draw(3) {
          let at = draw(bytes.count)
          switch draw(4) {
          case 0: bytes[at] = UInt8(draw(256))
          case 1: bytes[at] ^= 1 << UInt8(draw(8))
          case 2 where bytes.count > 2: bytes.remove(at: at)
          default: bytes.insert(bytes[draw(bytes.count)], at: at)
          }
        }
        let flaw = target.flaw(in: bytes)
        #expect(flaw == nil, "\(target.rawValue)/\(file.name), round \(round), \(bytes): \(flaw ?? "")")
      }
    }
  }

  @Test func everyCorpusIsOneOfATarget() throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path).filter { !$0.hasPrefix(".") }
    #expect(Set(names) == Set(FuzzTarget.allCases.map(\.rawValue)))
  }
}
