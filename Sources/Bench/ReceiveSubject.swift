import DataPlane
import LinuxSystem
import XDPPrograms

extension Subject {
  /// Receives queue 0 on a worker thread that never sleeps, and drops.
  public static func receive(_ interface: String, cpu: Int) throws {
    StopFlag.install()
    let interface = try NetworkInterface.named(interface)
    let worker = try QueueWorker.start(
      QueueConfiguration(interface: interface, queue: 0, cpu: cpu, frameCount: 4096, wait: .spin))
    let program = try OwnProgram.attach(to: interface)
    try program.setSocket(worker.socketDescriptor, queue: 0)
    try program.setPath(.user(peer: 0))
    tell(readyText)
    StopFlag.wait()
    worker.settle()
    tell(Account(packets: worker.counters().receivedPackets).line)
  }
}
