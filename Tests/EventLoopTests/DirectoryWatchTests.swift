// The directory watch: it hears of new, replaced and removed files, and is not heard once it was dropped.
import EventLoop
import Foundation
import Testing

@Suite struct DirectoryWatchTests {
  private func turn(_ loop: EventLoop, until condition: () -> Bool) {
    let watchdog = LoopTimer(loop) {}
    watchdog.schedule(after: .seconds(30))
    while !condition(), watchdog.isScheduled { loop.turn(waiting: true) }
  }

  @Test func tellsOfNewReplacedAndRemovedFiles() throws {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let loop = try EventLoop()
    var count = 0
    let watch = try DirectoryWatch(loop, directory: directory.path) { count += 1 }
    let file = directory.appendingPathComponent("secret")
    try Data("1".utf8).write(to: file)
    turn(loop) { count > 0 }
    #expect(count > 0)
    // The events of the first change have all been heard when a turn brings no more.
    var before = -1
    while before != count {
      before = count
      loop.turn(waiting: false)
    }
    try Data("2".utf8).write(to: file, options: .atomic)
    turn(loop) { count > before }
    #expect(count > before)
    before = count
    try FileManager.default.removeItem(at: file)
    turn(loop) { count > before }
    #expect(count > before)
    withExtendedLifetime(watch) {}
  }

  @Test func aWatchThatWasDroppedIsNotHeard() throws {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let loop = try EventLoop()
    var count = 0
    var watch: DirectoryWatch? = try DirectoryWatch(loop, directory: directory.path) { count += 1 }
    #expect(watch != nil)
    watch = nil
    try Data("1".utf8).write(to: directory.appendingPathComponent("secret"))
    for _ in 0..<3 { loop.turn(waiting: false) }
    #expect(count == 0)
  }

  @Test func refusesADirectoryThatIsNotThere() throws {
    let loop = try EventLoop()
    #expect(throws: EventLoopError.self) { try DirectoryWatch(loop, directory: "/no/such/directory") {} }
  }
}
