import Glibc
import LinuxSystem
import NetworkSupport
import Testing
import XSK

@Suite("The article's example", .serialized)
struct ArticleTests {
  @Test("The example in the article is the one that is compiled here")
  func isTheSame() throws {
    let here = #filePath
    let folder = here[..<(try #require(here.lastIndex(of: "/")))]
    let example = try SmallFile.readText("\(folder)/ReflectorExample.swift")
    let article = try SmallFile.readText("\(folder)/../../Sources/XSK/XSK.docc/XSK.md")
    #expect(article.contains("```swift\n\(example)\n```"))
  }

  @Test("The example reflects packets, and ends")
  func runs() throws {
    try withTestNetwork { network in
      let near = try network.near()
      let far = try network.far()
      let toNear = try RedirectProgram(interface: near, withMetadata: false)
      let toFar = try RedirectProgram(interface: far, withMetadata: false)
      let memory = try UMEM(geometry: .init(frameCount: 256), wantsHugePages: false)
      var pool = memory.makePool()
      var socket = try XDPSocket(
        memory: memory, pool: &pool, interface: far, queue: 0,
        options: .init(fillEntryCount: 128, transmitEntryCount: 64))
      try toFar.insert(queue: 0, socket: socket.descriptor.rawValue)
      let sent = (0..<50).map { testFrame(slot: 1, number: UInt32($0)) }
      try reflect(sent.count, on: near, queue: 0) { descriptor in
        try toNear.insert(queue: 0, socket: descriptor)
        // A veth delivers in the call that sends: they are in the ring when the loop begins.
        #expect(try socket.transmit(sent[...], pool: &pool) == sent.count)
      }
      var collector = Collector()
      #expect(socket.receive(sent.count, pool: &pool, into: &collector) == true)
      #expect(collector.frames == sent.map { Array($0[6..<12] + $0[..<6] + $0[12...]) })
    }
  }
}
