// swift-tools-version:6.2
// The rooms of Sluice, bottom to top. What may import what is checked by Tests/ArchitectureTests.
import PackageDescription

let grpcCore = Target.Dependency.product(name: "GRPCCore", package: "grpc-swift-2")
let grpcProtobuf = Target.Dependency.product(name: "GRPCProtobuf", package: "grpc-swift-protobuf")
let grpcTransport = Target.Dependency.product(name: "GRPCNIOTransportHTTP2Posix", package: "grpc-swift-nio-transport")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdTLS = Target.Dependency.product(name: "HummingbirdTLS", package: "hummingbird")
let hummingbirdHTTP2 = Target.Dependency.product(name: "HummingbirdHTTP2", package: "hummingbird")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let coreMetrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let jwt = Target.Dependency.product(name: "JWTKit", package: "jwt-kit")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let httpClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let configuration = Target.Dependency.product(name: "Configuration", package: "swift-configuration")

let package = Package(
  name: "sluice",
  platforms: [.macOS(.v15)],  // silences availability checks of dependencies; ignored on Linux
  products: [
    .executable(name: "sluiced", targets: ["sluiced"]),
    .executable(name: "sluice-api", targets: ["sluice-api"]),
    .executable(name: "sluice", targets: ["sluice"]),
    .library(name: "XSK", targets: ["XSK"]),
    .library(name: "DataPlane", targets: ["DataPlane"]),
  ],
  dependencies: [
    .package(url: "https://github.com/hummingbird-project/hummingbird.git", exact: "2.28.1"),
    .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl.git", exact: "2.37.6"),
    .package(url: "https://github.com/grpc/grpc-swift-2.git", exact: "2.4.3"),
    .package(url: "https://github.com/grpc/grpc-swift-nio-transport.git", exact: "2.9.2"),
    .package(url: "https://github.com/grpc/grpc-swift-protobuf.git", exact: "2.4.1"),
    .package(url: "https://github.com/apple/swift-protobuf.git", exact: "1.39.0", traits: []),
    .package(url: "https://github.com/vapor/jwt-kit.git", exact: "5.7.1"),
    .package(url: "https://github.com/apple/swift-crypto.git", exact: "4.5.2"),
    .package(url: "https://github.com/groue/GRDB.swift.git", exact: "7.10.0"),
    .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics.git", exact: "2.13.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", exact: "2.13.0"),
    .package(url: "https://github.com/apple/swift-argument-parser.git", exact: "1.8.2"),
    .package(
      url: "https://github.com/apple/swift-configuration.git", exact: "1.4.0",
      traits: ["JSON", "YAML", "CommandLineArguments", "Reloading"]),
    .package(url: "https://github.com/apple/swift-http-types.git", exact: "1.8.0"),
    .package(url: "https://github.com/swift-server/async-http-client.git", exact: "1.37.0"),
  ],
  targets: [
    // C: only where Swift cannot go.
    .target(name: "CLinuxShims"),
    .systemLibrary(
      name: "CXDP", pkgConfig: "libxdp", providers: [.apt(["libxdp-dev", "libbpf-dev"])]),
    .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .systemLibrary(name: "CMariaDB", pkgConfig: "libmariadb", providers: [.apt(["libmariadb-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
    .systemLibrary(name: "CSluiceABI", path: "bpf/include"),

    // The packet side.
    .target(name: "LinuxSystem", dependencies: ["CLinuxShims"]),
    .target(name: "Packets"),
    .target(name: "Rules", dependencies: ["JSONValues", "Packets"]),
    .target(name: "Traffic", dependencies: ["Packets"]),
    .target(name: "Flows", dependencies: ["Packets"]),
    .target(name: "RuleCompiler", dependencies: ["Packets", "Rules", "CSluiceABI"]),
    .target(name: "XSK", dependencies: ["LinuxSystem", "CLinuxShims"]),
    .target(
      name: "XDPPrograms", dependencies: ["LinuxSystem", "CXDP", "CSluiceABI"],
      resources: [
        .embedInCode("Objects/sluice_xdp.bpf.o"), .embedInCode("Objects/sluice_transmit.bpf.o"),
        .embedInCode("Objects/sluice_generator.bpf.o"), .embedInCode("Objects/sluice_sink.bpf.o"),
        .embedInCode("Objects/sluice_probe.bpf.o"), .embedInCode("Objects/sluice_receiver.bpf.o"),
      ]),
    .target(name: "DataPlane", dependencies: ["Packets", "Flows", "XSK", "XDPPrograms", "LinuxSystem", "CSluiceABI"]),

    // Measures the packet side beside other programs.
    .target(
      name: "Bench",
      dependencies: [
        "CSluiceABI", "Packets", "Rules", "Traffic", "RuleCompiler", "LinuxSystem", "XSK", "XDPPrograms", "DataPlane",
      ]),

    // The control side.
    .target(name: "Telemetry", dependencies: [coreMetrics]),
    .target(name: "Logs", dependencies: [logging]),
    .target(name: "JSONValues"),
    .target(name: "Audit", dependencies: ["JSONValues", crypto]),
    .target(name: "Settings", dependencies: ["Packets", configuration]),
    .target(
      name: "Control",
      dependencies: [
        "Packets", "Rules", "RuleCompiler", "XDPPrograms", "XSK", "DataPlane", "Flows", "LinuxSystem", "CSluiceABI", crypto,
        logging,
      ]),
    .target(
      name: "ControlProtocol", dependencies: ["JSONValues", "Packets", "Rules", grpcCore, grpcProtobuf, protobuf],
      exclude: ["Protos"],
      resources: [.embedInCode("descriptors.pb")]),
    .target(
      name: "ControlService",
      dependencies: [
        "Control", "ControlProtocol", "DataPlane", "Flows", "LinuxSystem", "Rules", "Telemetry", "XDPPrograms", grpcCore,
        grpcTransport, hummingbird, nioCore, lifecycle, logging,
      ]),
    .target(
      name: "Storage",
      dependencies: [
        "Audit", "JSONValues", "Packets", "Rules", "Identity", "CMariaDB", "CPostgres", grdb, nioPosix, logging, crypto,
      ]),
    .target(
      name: "Identity", dependencies: ["CSodium", crypto, jwt],
      resources: [.embedInCode("Data/common-passwords.txt")]),
    .target(
      name: "RESTAPI",
      dependencies: [
        "Audit", "Identity", "Storage", "Packets", "Rules", "LinuxSystem", "ControlProtocol", "Telemetry", "CZlib",
        hummingbird, hummingbirdCore, hummingbirdTLS, hummingbirdHTTP2, httpTypes, httpClient, grpcCore, grpcTransport,
        nioCore, nioPosix, nioSSL, crypto, logging, metrics, lifecycle,
      ]),

    // Executables: wiring only.
    .executableTarget(
      name: "sluiced",
      dependencies: [
        "Control", "ControlProtocol", "ControlService", "Telemetry", "Logs", "Settings", "LinuxSystem", lifecycle,
        unixSignals, arguments, logging, metrics,
      ]),
    .executableTarget(
      name: "sluice-api",
      dependencies: [
        "RESTAPI", "Storage", "Identity", "JSONValues", "ControlProtocol", "Telemetry", "Logs", "Settings", "LinuxSystem", hummingbird, lifecycle,
        unixSignals, arguments, logging, metrics,
      ]),
    .executableTarget(
      name: "sluice",
      dependencies: [
        "Audit", "Rules", "Packets", "Traffic", "Bench", "ControlProtocol", "XDPPrograms", "LinuxSystem", arguments,
        httpClient, grpcCore, grpcTransport, nioCore, nioSSL,
      ]),

    // In the virtual machines of Tests/Guest.
    .executableTarget(
      name: "guest-probe", dependencies: ["DataPlane", "LinuxSystem", "RuleCompiler", "Rules", "XDPPrograms", "XSK"],
      path: "Tests/GuestProbe"),
    .executableTarget(name: "ring-cost", dependencies: ["XSK", "LinuxSystem"], path: "Tests/RingCost"),
    // What the XDP program decides beside the reference classifier and libpcap, millions of times.
    .executableTarget(
      name: "exactness",
      dependencies: ["CSluiceABI", "LinuxSystem", "Packets", "RuleCompiler", "Rules", "TestSupport", "XDPPrograms"],
      path: "Tests/Exactness"),
    .target(name: "TestSupport", dependencies: ["Packets", "RuleCompiler", "Rules"], path: "Tests/TestSupport"),
    .target(
      name: "NetworkSupport", dependencies: ["LinuxSystem", "CLinuxShims", "CXDP"], path: "Tests/NetworkSupport"),
    .testTarget(
      name: "XDPProgramsTests",
      dependencies: [
        "XDPPrograms", "RuleCompiler", "Rules", "Packets", "LinuxSystem", "CLinuxShims", "CSluiceABI", "TestSupport",
        "NetworkSupport",
      ]),
    .testTarget(name: "LinuxSystemTests", dependencies: ["LinuxSystem", "CLinuxShims", "NetworkSupport"]),
    .testTarget(name: "XSKTests", dependencies: ["XSK", "LinuxSystem", "NetworkSupport", "TestSupport"]),
    .testTarget(
      name: "DataPlaneTests",
      dependencies: [
        "DataPlane", "Flows", "Packets", "XSK", "XDPPrograms", "LinuxSystem", "CLinuxShims", "NetworkSupport",
        "TestSupport",
      ]),
    .testTarget(
      name: "ControlTests",
      dependencies: ["Control", "DataPlane", "Flows", "LinuxSystem", "Rules", "TestSupport", "XDPPrograms"]),
    .testTarget(
      name: "EndToEndTests",
      dependencies: [
        "sluiced", "sluice-api", "sluice", "XDPPrograms", "XSK", "LinuxSystem", "Packets", "NetworkSupport", "DatabaseSupport",
      ],
      exclude: ["python"]),
    .testTarget(
      name: "RESTAPITests",
      dependencies: [
        "Audit", "RESTAPI", "sluice-api", "DatabaseSupport", "Storage", "Identity", "Rules", "ControlProtocol",
        "Telemetry", hummingbird, .product(name: "HummingbirdTesting", package: "hummingbird"), httpTypes, grpcCore, grpcTransport,
        nioCore, logging,
      ]),
    .testTarget(name: "PacketsTests", dependencies: ["Packets", "TestSupport"]),
    .testTarget(
      name: "TrafficTests",
      dependencies: [
        "Traffic", "XDPPrograms", "RuleCompiler", "Rules", "Packets", "LinuxSystem", "CSluiceABI", "NetworkSupport",
      ]),
    .testTarget(name: "FlowsTests", dependencies: ["Flows", "Packets", "TestSupport"]),
    .testTarget(name: "BenchTests", dependencies: ["Bench", "Rules", "Packets"]),
    .testTarget(name: "RulesTests", dependencies: ["JSONValues", "Rules", "Packets", "TestSupport"]),
    .testTarget(
      name: "RuleCompilerTests",
      dependencies: ["RuleCompiler", "Rules", "Packets", "CSluiceABI", "TestSupport"]),
    .testTarget(
      name: "ControlProtocolTests",
      dependencies: [
        "ControlProtocol", "Rules", "Packets", grpcCore, grpcTransport, protobuf,
        .product(name: "GRPCInProcessTransport", package: "grpc-swift-2"),
      ]),
    .testTarget(name: "TelemetryTests", dependencies: ["Telemetry", coreMetrics]),
    .testTarget(name: "LogsTests", dependencies: ["Logs", logging]),
    .testTarget(name: "SettingsTests", dependencies: ["Settings"]),
    .testTarget(
      name: "CLITests",
      dependencies: [
        "sluice", "Audit", "JSONValues", "ControlProtocol", "Rules", "Traffic", "Packets", "NetworkSupport", hummingbird,
        arguments, httpClient, grpcCore, grpcTransport, .product(name: "HummingbirdTesting", package: "hummingbird"),
      ]),
    .testTarget(name: "ArchitectureTests"),
    .target(name: "DatabaseSupport", path: "Tests/DatabaseSupport"),
    .testTarget(
      name: "StorageTests",
      dependencies: ["Audit", "JSONValues", "Storage", "Identity", "Rules", "Packets", "DatabaseSupport", "TestSupport", logging]),
    .testTarget(name: "AuditTests", dependencies: ["Audit", "JSONValues"]),
    .testTarget(name: "IdentityTests", dependencies: ["Identity", crypto]),
  ],
  swiftLanguageModes: [.v6]
)
