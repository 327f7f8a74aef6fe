import Testing

@Suite("The house stands as it was drawn")
struct ArchitectureTests {
  let house: House

  init() throws { house = try House.here.get() }

  @Test("The tests read the project: every room of Package.swift has files")
  func projectIsRead() {
    #expect(house.manifest.targets.count > 20)
    #expect(house.files.count { $0.room != nil } > 50)
    #expect(house.reach(of: "DataPlane").isSuperset(of: ["XSK", "LinuxSystem", "CLinuxShims", "Glibc"]))
  }

  @Test("What DataPlane reaches contains no Foundation, NIO, logging, or async")
  func packetPathIsBare() { #expect(Rule.packetPathIsBare(house) == []) }

  @Test("Packets, Rules, RuleCompiler and Identity do no I/O")
  func pureRoomsDoNoIO() { #expect(Rule.pureRoomsDoNoIO(house) == []) }

  @Test("RESTAPI and sluice-api never see DataPlane, XSK or XDPPrograms")
  func apiSeesNoPackets() { #expect(Rule.apiSeesNoPackets(house) == []) }

  @Test("Unsafe code is only in LinuxSystem, XSK, XDPPrograms and Packets, and in the named exceptions")
  func unsafeCodeIsFenced() {
    #expect(Rule.unsafeCodeIsFenced(house, exceptions: unsafeExceptions) == [])
  }

  @Test("The top level holds exactly what it should")
  func topLevelIsFixed() { #expect(Rule.topLevelIsFixed(house) == []) }

  @Test("Every file that is not generated has at most 400 lines")
  func filesAreShort() { #expect(Rule.filesAreShort(house) == []) }

  @Test("No file promises work for later or names a machine's path")
  func nothingIsLeftLying() { #expect(Rule.nothingIsLeftLying(house) == []) }

  @Test("Every room of the table exists")
  func roomsExist() { #expect(Rule.roomsExist(house) == []) }

  @Test("A room imports only rooms that Package.swift says it depends on")
  func importsAreDeclared() { #expect(Rule.importsAreDeclared(house) == []) }
}

/// Unsafe code outside the rooms for it, and why it stays there.
let unsafeExceptions: [String: String] = [
  "Sources/Bench/OwnProgram.swift": "hands a compiled generation's bytes to XDPPrograms, reads nothing through them",
  "Sources/Bench/RuleBench.swift": "hands a compiled generation's bytes to XDPPrograms, reads nothing through them",
  "Sources/Bench/SetBench.swift": "hands a compiled generation's bytes to XDPPrograms, reads nothing through them",
  "Sources/Control/Attachment.swift": "hands a compiled generation's bytes to XDPPrograms, reads nothing through them",
  "Sources/Control/Generation.swift": "hands a compiled generation's bytes to the self-test program, as above",
  "Sources/ControlService/ControlServer.swift": "sockaddr_un for the one connect(2) that asks if the path is in use",
  "Sources/DataPlane/Pcapng.swift": "appends integers as bytes; beside the packet path, on the writer's thread",
  "Sources/Flows/FlowMemory.swift": "the flow table's slots: the pure room stands below the rooms with unsafe code",
  "Sources/Identity/PasswordHasher.swift": "libsodium takes C strings",
  "Sources/Identity/Secrets.swift": "libsodium fills and compares byte buffers",
  "Sources/Logs/ConsoleDestination.swift": "write(2) of one line",
  "Sources/Logs/DatagramSocket.swift": "sockaddr, getaddrinfo and send(2); Logs stands below LinuxSystem's users",
  "Sources/Logs/SyslogDestination.swift": "uname(2) gives the host's name as a tuple of characters",
  "Sources/RESTAPI/Interface/Gzip.swift": "zlib writes into a buffer of the length that it is told",
  "Sources/RuleCompiler/CompiledGeneration.swift": "lends the C structure's bytes for the length of a closure",
  "Sources/Storage/MySQL/MySQLConnection.swift": "the client library's connection is a C structure, its options are pointers",
  "Sources/Storage/MySQL/MySQLStatement.swift": "the client library quotes into our memory, its rows are C strings",
  "Sources/Storage/Postgres/PostgresConnection.swift": "libpq's connections and results are opaque pointers",
  "Sources/Storage/Postgres/PostgresPipeline.swift": "libpq's results are opaque pointers",
]
