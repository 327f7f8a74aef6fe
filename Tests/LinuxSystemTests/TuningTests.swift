import Glibc
import LinuxSystem
import NetworkSupport
import Testing

@Suite("Interface tuning and carrier", .serialized)
struct TuningTests {
  @Test("Interrupt deferral holds while the value lives and is put back after it")
  func deferral() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { root in
        // sysfs shows the interfaces of the namespace it was mounted in.
        try Shell.run("mount -t sysfs sysfs \(root)")
        defer { _ = try? Shell.run("umount \(root)") }
        let near = try network.near()
        let read = { (name: String) in try SmallFile.readText("\(root)/class/net/near/\(name)") }
        let before = (try read("napi_defer_hard_irqs"), try read("gro_flush_timeout"))
        do {
          let tuning = try NAPITuning(
            interface: near, deferredInterruptCount: 7, groFlushTimeoutNanoseconds: 123_456, root: root)
          #expect(try read("napi_defer_hard_irqs") == "7" && read("gro_flush_timeout") == "123456")
          #expect(tuning.deferredInterruptCount == 7)
        }
        #expect(try read("napi_defer_hard_irqs") == before.0 && read("gro_flush_timeout") == before.1)
      }
    }
  }

  @Test("An interface without a carrier is waited for; one that stays without times out with a remedy")
  func carrier() throws {
    try withTestNetwork { network in
      let near = try network.near()
      #expect(try near.awaitCarrier(timeoutMilliseconds: 0).hasCarrier)
      try Shell.run("ip link set far down")
      do throws(SystemError) {
        _ = try near.awaitCarrier(timeoutMilliseconds: 50)
        Issue.record("there was a carrier")
      } catch {
        #expect(error.code == ETIMEDOUT && error.remedy?.contains("other end") == true)
      }
      // Comes back on another thread of this namespace, while this one waits.
      let riser = try PinnedThread.spawn(name: "riser") { _ = try? Shell.run("ip link set far up") }
      #expect(try near.awaitCarrier(timeoutMilliseconds: 10_000).hasCarrier)
      riser.join()
    }
  }
}
