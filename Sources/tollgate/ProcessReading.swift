// The process's own figures, from /proc where there is one.
import AdminConsole
import Foundation
import ProcessOutput

enum ProcessReading {
  static func figures() -> ProcessFigures {
    var figures = ProcessFigures()
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let tick = Double(sysconf(Int32(_SC_CLK_TCK)))
    if let memory = words("/proc/self/statm"), memory.count > 1 {
      figures.virtualBytes = (Int(memory[0]) ?? 0) * page
      figures.residentBytes = (Int(memory[1]) ?? 0) * page
    }
    // The second field is the program's name in parentheses, which may contain spaces: count from after it.
    if let text = text("/proc/self/stat"), let bracket = text.lastIndex(of: ")") {
      let fields = text[text.index(after: bracket)...].split(separator: " ")
      if fields.count > 19, let user = Double(fields[11]), let system = Double(fields[12]),
        let started = Double(fields[19])
      {
        figures.cpuSeconds = (user + system) / tick
        if let boot = words("/proc/stat").flatMap({ all in
          all.firstIndex(of: "btime").flatMap { Double(all[$0 + 1]) }
        }) {
          figures.startTimeSeconds = boot + started / tick
        }
      }
    }
    figures.logLinesDropped = Terminal.output.dropped + Terminal.errors.dropped
    // Reading the directory needs a descriptor: where none is left, all allowed ones are open.
    figures.openDescriptors =
      (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count)
      ?? Int(sysconf(Int32(_SC_OPEN_MAX)))
    return figures
  }

  private static func text(_ path: String) -> String? {
    FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
  }

  private static func words(_ path: String) -> [String]? {
    text(path)?.split { $0 == " " || $0 == "\n" }.map(String.init)
  }
}
