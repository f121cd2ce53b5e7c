// swift-tools-version: 6.3
// Tollgate: the package. One executable for operators, `tollgate`, over a pure core and thin wrappers, and `tollgate-dev` for those who
// work on it; see docs/internals/architecture.md.
import PackageDescription

/// CI sets TOLLGATE_WARNINGS_AS_ERRORS=1; a developer's build only shows warnings.
let strict = Context.environment["TOLLGATE_WARNINGS_AS_ERRORS"] == "1"
/// Release builds read how often each branch ran under load, which scripts/record-profile recorded (docs/decisions/2026-11-29-recorded-profile.md).
/// That script names the library with which a build records instead.
let profileRuntime = Context.environment["TOLLGATE_PROFILE_RUNTIME"]
let profiling =
  profileRuntime == nil
  ? "-ir-profile-use=\(Context.packageDirectory)/Profiles/release.profdata" : "-ir-profile-generate"
let executableSettings: [LinkerSetting] =
  profileRuntime.map { [.unsafeFlags(["-Xlinker", "-u", "-Xlinker", "__llvm_profile_runtime", "-Xlinker", $0])] } ?? []
/// A build with `--sanitize=thread` needs this too, or the sanitizer takes values behind a lock for unguarded ones; scripts/test --tsan
/// sets it (docs/decisions/2026-11-30-locks-that-threadsanitizer-sees.md).
let examinesThreads = Context.environment["TOLLGATE_THREAD_SANITIZER"] == "1"
let swiftSettings: [SwiftSetting] =
  [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]
  + (examinesThreads ? [.define("TOLLGATE_THREAD_SANITIZER")] : [])
  + (strict ? [.unsafeFlags(["-warnings-as-errors"])] : [])
  // Tests run with these checks on; in a release build each would cost on the hot path (docs/decisions/2026-11-29-exclusivity-checks-in-release.md).
  + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]
  + [.unsafeFlags(["-Xfrontend", profiling], .when(platforms: [.linux], configuration: .release))]

/// The core, and what runs it for thousands of simulated hours in tests: optimized in debug builds too, with all checks of a debug build
/// (docs/decisions/2026-12-01-optimized-core-in-tests.md).
let optimized: Set<String> = ["AdmissionCore", "PolicyLab", "TollgateTesting"]
let optimizing: [SwiftSetting] = [.unsafeFlags(["-O", "-assert-config", "Debug"], .when(configuration: .debug))]

func library(_ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource]? = nil) -> Target {
  .target(
    name: name, dependencies: dependencies, resources: resources,
    swiftSettings: swiftSettings + (optimized.contains(name) ? optimizing : []))
}
func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
  .testTarget(name: name + "Tests", dependencies: dependencies, exclude: exclude, swiftSettings: swiftSettings)
}
func system(_ name: String, pkgConfig: String, apt: String) -> Target {
  .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

/// The readers of what strangers send, each as one function from bytes to what is wrong. In every build the tests replay the corpora through
/// them; only where scripts/fuzz names libFuzzer's library are they a program instead, which makes up bytes of its own.
func fuzzing(_ dependencies: [Target.Dependency]) -> Target {
  guard let library = Context.environment["TOLLGATE_LIBFUZZER"] else {
    return .testTarget(
      name: "FuzzingTests", dependencies: dependencies, exclude: ["Corpora", "LibFuzzer.swift"],
      swiftSettings: swiftSettings)
  }
  return .executableTarget(
    name: "fuzz", dependencies: dependencies, path: "Tests/FuzzingTests", exclude: ["Corpora", "CorpusTests.swift"],
    swiftSettings: swiftSettings, linkerSettings: [.unsafeFlags([library]), .linkedLibrary("stdc++")])
}

let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let heap = Target.Dependency.product(name: "HeapModule", package: "swift-collections")

let package = Package(
  name: "tollgate",
  platforms: [.macOS(.v15)],
  products: [
    .executable(name: "tollgate", targets: ["tollgate"]),
    .executable(name: "tollgate-dev", targets: ["tollgate-dev"]),
    .library(name: "PolicyLab", targets: ["PolicyLab"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
  ],
  targets: [
    // The C libraries, one small shim each.
    system("CUV", pkgConfig: "libuv", apt: "libuv1-dev"),
    system("CNghttp2", pkgConfig: "libnghttp2", apt: "libnghttp2-dev"),
    system("COpenSSL", pkgConfig: "openssl", apt: "libssl-dev"),
    system("CCurl", pkgConfig: "libcurl", apt: "libcurl4-openssl-dev"),
    system("CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
    system("CZstd", pkgConfig: "libzstd", apt: "libzstd-dev"),
    .target(
      name: "CSimdjson",
      cxxSettings: [.unsafeFlags(["-std=c++17"])],
      linkerSettings: [.linkedLibrary("simdjson")]),

    // Pure: no I/O, no clock, no randomness.
    library("AdmissionCore", [deque, heap]),
    library("TextForms"),
    library("HTTPMessage"),
    library("HTTP1Codec", ["HTTPMessage", "TextForms"]),
    library("Pricing", ["AdmissionCore", "TextForms"], resources: [.embedInCode("prices.yaml")]),
    library("LedgerVocabulary", ["AdmissionCore", "Pricing", "TextForms"]),
    library("TerminalScreen", ["TextForms"]),
    library("PolicyFile", ["AdmissionCore", "Pricing", "TextForms", .product(name: "Yams", package: "Yams")]),
    library("Courier", ["HTTPMessage", "PolicyFile", "TextForms"]),
    library("Telemetry", ["HTTPMessage", "TextForms"]),
    library("ProviderWire", ["AdmissionCore", "HTTPMessage", "Pricing", "TextForms", "CSimdjson", "CZlib", "CZstd"]),

    // Shells.
    library("SharedState"),
    library("EventLoop", ["SharedState", "CUV"]),
    library("ProcessOutput", ["SharedState"]),
    library("HTTPEndpoint", ["EventLoop", "HTTP1Codec", "HTTPMessage", "TextForms", "CNghttp2", "COpenSSL"]),
    library("UpstreamHTTP", ["EventLoop", "HTTP1Codec", "HTTPMessage", "CCurl", "CNghttp2", "COpenSSL"]),
    library(
      "BrokerEngine",
      [
        "AdmissionCore", "LedgerVocabulary", "PolicyFile", "Pricing", "ProviderWire", "HTTPMessage", "Telemetry",
        "TextForms", "EventLoop", deque,
      ]),
    library(
      "LedgerStore",
      [
        "AdmissionCore", "LedgerVocabulary", "Pricing", "SharedState", "TextForms", deque,
        .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "GRDBSQLite", package: "GRDB.swift"),
      ]),
    library(
      "AdminConsole",
      [
        "BrokerEngine", "Courier", "LedgerStore", "LedgerVocabulary", "PolicyFile", "EventLoop", "HTTPMessage",
        "AdmissionCore", "TextForms",
      ],
      resources: [.embedInCode("Dashboard")]),
    library("ProviderSimulator", ["HTTPEndpoint", "HTTPMessage", "TextForms", "EventLoop", "CZlib", heap]),
    library("FleetSimulator", ["AdmissionCore", "HTTPMessage", "EventLoop"]),
    library("PolicyLab", ["AdmissionCore", heap]),
    library("TollgateTesting", ["AdmissionCore", "PolicyLab"]),
    library("HTTPDoubles", ["HTTPMessage"]),
    .executableTarget(
      name: "tollgate",
      dependencies: [
        "AdmissionCore", "TextForms", "Pricing", "LedgerVocabulary", "PolicyFile", "EventLoop", "HTTPMessage",
        "HTTPEndpoint", "UpstreamHTTP", "BrokerEngine", "LedgerStore", "AdminConsole", "Courier", "Telemetry",
        "ProviderSimulator", "FleetSimulator",
        "ProcessOutput", "SharedState", "PolicyLab", "TerminalScreen",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: swiftSettings, linkerSettings: executableSettings),
    .executableTarget(
      name: "tollgate-dev",
      dependencies: [
        "AdmissionCore", "LedgerStore", "LedgerVocabulary", "PolicyLab", "ProcessOutput", "SharedState",
        "TextForms",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: swiftSettings, linkerSettings: executableSettings),

    tests("Courier", ["Courier", "HTTPDoubles", "HTTPMessage", "PolicyFile"]),
    tests("Telemetry", ["Telemetry", "HTTPDoubles", "HTTPMessage"]),
    tests("AdmissionCore", ["AdmissionCore", "PolicyLab", "TollgateTesting"]),
    tests("TextForms", ["TextForms"]),
    tests("TerminalScreen", ["TerminalScreen", "TextForms"]),
    tests("HTTPMessage", ["HTTPMessage"]),
    tests("HTTPDoubles", ["HTTPDoubles", "HTTPMessage"]),
    tests("HTTP1Codec", ["HTTP1Codec", "HTTPMessage"]),
    tests("Pricing", ["Pricing", "AdmissionCore", "PolicyFile", "ProviderWire", "TextForms"]),
    tests("LedgerVocabulary", ["LedgerVocabulary"]),
    tests("PolicyFile", ["PolicyFile", "AdmissionCore", "Pricing", "TextForms"], exclude: ["Fixtures"]),
    tests(
      "ProviderWire", ["ProviderWire", "AdmissionCore", "HTTPMessage", "Pricing", "CSimdjson", "CZlib", "CZstd"]),
    tests("SharedState", ["SharedState"]),
    tests("EventLoop", ["EventLoop", "SharedState"]),
    tests("ProcessOutput", ["ProcessOutput"]),
    tests(
      "HTTPEndpoint", ["HTTPEndpoint", "AdmissionCore", "EventLoop", "HTTPMessage", "CNghttp2", "COpenSSL"]),
    tests("UpstreamHTTP", ["UpstreamHTTP", "EventLoop", "HTTPMessage", "SharedState"]),
    tests(
      "BrokerEngine",
      [
        "BrokerEngine", "AdmissionCore", "EventLoop", "HTTPDoubles", "HTTPMessage", "LedgerVocabulary", "PolicyFile",
        "Pricing", "ProviderWire", "Telemetry", "TextForms",
      ]),
    tests(
      "LedgerStore",
      [
        "LedgerStore", "AdmissionCore", "LedgerVocabulary", "SharedState", "TextForms",
        .product(name: "GRDB", package: "GRDB.swift"),
      ], exclude: ["Files"]),
    tests(
      "AdminConsole",
      [
        "AdminConsole", "BrokerEngine", "EventLoop", "LedgerStore", "AdmissionCore", "HTTPDoubles", "HTTPMessage",
        "PolicyFile", "TextForms",
      ]),
    tests("ProviderSimulator", ["ProviderSimulator", "HTTPMessage", "ProviderWire"]),
    tests(
      "FleetSimulator",
      [
        "FleetSimulator", "ProviderSimulator", "HTTPDoubles", "HTTPEndpoint", "UpstreamHTTP", "EventLoop",
        "HTTPMessage",
      ]),
    tests("PolicyLab", ["PolicyLab", "AdmissionCore"]),
    tests("TollgateTesting", ["AdmissionCore", "PolicyLab", "TollgateTesting"]),
    tests("Tidy", []),
    fuzzing([
      "HTTP1Codec", "HTTPMessage", "ProviderWire", "LedgerStore", "LedgerVocabulary", "AdmissionCore", "TextForms",
    ]),
  ],
  cxxLanguageStandard: .cxx17
)
